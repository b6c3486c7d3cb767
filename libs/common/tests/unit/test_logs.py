"""Every line of a process is one JSON object, whoever writes it."""

import json
import subprocess
import sys

import pytest

from infermesh_common.telemetry.logs import configure_logs, without_text

# In a process of its own: loggers are made once and kept.
SCRIPT = """
import logging, threading, warnings
import structlog
from opentelemetry import trace
from infermesh_common.context import RequestContext
from infermesh_common.rpc.pipeline import map_error
from infermesh_common.telemetry.logs import configure_logs
from infermesh_common.telemetry.tracing import Tracing
from infermesh_common.settings import TelemetrySettings
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

configure_logs("probe", {level!r})
log = structlog.get_logger("test")
log.debug("ours_at_debug")
log.info("ours", number=2**80, text="\\ud800", thing=object, nested={{"a": [1]}})
logging.getLogger("library").warning("of a %s", "library")
logging.getLogger("library").info("too little")
try:
    raise ValueError("two\\nlines")
except ValueError:
    logging.getLogger("library").exception("failed")
worker = threading.Thread(target=lambda: log.info("of_a_thread"))
worker.start()
worker.join()
settings = TelemetrySettings(
    log_level="INFO", log_flush_interval_ms=0, otlp_endpoint=None, trace_sample_ratio=1.0
)
tracing = Tracing("probe", settings, InMemorySpanExporter())
with tracing.span("work", {{}}) as span, trace.use_span(span):
    log.info("in_a_span")
call = RequestContext("/a/B", "id", {{}}, 0.0, 0)
map_error(call, ValueError("the prompt"))
"""


def lines_at(level: str) -> list[dict[str, object]]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level=level)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_line_is_json_with_service_level_and_time() -> None:
    lines = lines_at("INFO")
    assert [line["event"] for line in lines] == [
        "ours",
        "of a library",
        "failed",
        "of_a_thread",
        "in_a_span",
        "rpc_defect",
    ]
    for line in lines:
        assert line["service"] == "probe" and line["level"] and line["timestamp"]
    by_event = {str(line["event"]): line for line in lines}
    assert by_event["ours"]["number"] == 2**80
    assert by_event["ours"]["nested"] == {"a": [1]}
    assert by_event["of a library"]["logger"] == "library"
    assert "two\nlines" in str(by_event["failed"]["exception"])
    assert len(str(by_event["in_a_span"]["trace_id"])) == 32
    assert "trace_id" not in by_event["ours"]
    assert "the prompt" not in json.dumps(lines)


def test_the_text_of_a_defect_is_told_at_debug_only() -> None:
    lines = {str(line["event"]): line for line in lines_at("DEBUG")}
    assert "the prompt" in str(lines["rpc_defect_text"]["exception"])
    assert "the prompt" not in json.dumps(lines["rpc_defect"])
    assert "ours_at_debug" in lines


def test_an_unknown_level_is_an_error() -> None:
    with pytest.raises(KeyError):
        configure_logs("probe", "LOUD")


def test_an_error_is_described_without_what_it_says() -> None:
    def fail() -> None:
        try:
            raise KeyError("secret one")
        except KeyError as error:
            raise ValueError("secret two") from error

    with pytest.raises(ValueError) as caught:
        fail()
    described = without_text(caught.value)
    assert described.startswith("ValueError\n") and "caused by KeyError\n" in described
    assert "in fail" in described and "secret one" not in described.replace('"secret one"', "")
