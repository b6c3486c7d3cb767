"""Structured logs: JSON, one line an event, on standard output."""

import json
import logging
import traceback
from typing import TextIO, cast

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from infermesh_common.telemetry.line_output import LineLogger, LineOutput


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    span = trace.get_current_span()
    if span is not trace.INVALID_SPAN and (context := span.get_span_context()).is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
    return event


def _dumps(event: EventDict, default: object = None) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:  # a lone surrogate or a huge number: a line is written all the same
        return json.dumps(event, default=str)


def without_text(error: BaseException) -> str:
    """Types and stacks of `error` and of what caused it, without what they say.

    The text of an error may quote what it could not handle, and that may be a prompt: it belongs
    into a line at DEBUG, if anywhere.
    """
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        parts.append(
            type(cause).__name__ + "\n" + "".join(traceback.format_tb(cause.__traceback__))
        )
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "caused by ".join(parts)


_processors: list[Processor] = []
"""One list for the life of the process: loggers that are cached keep it, and follow it."""


def configure_logs(service: str, level: str, *, flush_interval_ms: int = 0) -> None:
    """Sets up structlog and the standard library's logging for this process.

    Lines of libraries, from WARNING up, get the same form as ours.

    Args:
        service: name put on every line.
        level: "DEBUG", "INFO", "WARNING" or "ERROR".
        flush_interval_ms: longest time that lines below WARNING wait to be written together.
    """
    number = logging.getLevelNamesMapping()[level]
    lines = LineOutput(flush_interval_ms / 1000)

    def add_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    common: list[Processor] = [
        add_service,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    render: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_dumps),
    ]
    _processors[:] = [*common, *render]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: LineLogger(lines),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(cast(TextIO, lines))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING))
