"""Metrics are what the registry declares, and are served as Prometheus reads them."""

import re
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infermesh_common.telemetry.metrics import (
    CONTENT_TYPE,
    Metrics,
    MetricsEndpoint,
    UndeclaredMetric,
)
from infermesh_common.telemetry.registry import (
    LOG_FIELDS,
    METRICS,
    SPAN_ATTRIBUTES,
    Kind,
    MetricSpec,
)

UNITS = ("_seconds", "_bytes", "_tokens", "_usd", "_ratio")
# Of a histogram and of what prometheus_client adds to a counter.
RESERVED = ("_count", "_sum", "_bucket", "_created", "_info")
UNBOUNDED = {"request_id", "key_id", "decision_id", "event_id", "prompt", "user", "id"}
SPECS = list(METRICS.values())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.name))
def test_a_declaration_follows_the_naming_rules(spec: MetricSpec) -> None:
    assert re.fullmatch(r"infermesh(_[a-z0-9]+)+", spec.name)
    assert METRICS[spec.name] is spec
    assert spec.help.endswith(".") and spec.help[0].isupper()
    assert spec.name.endswith("_total") == (spec.kind is Kind.COUNTER)
    assert not spec.name.endswith(RESERVED)
    if spec.kind is Kind.HISTOGRAM:
        assert spec.name.endswith(UNITS)
        assert len(spec.buckets) >= 2 and list(spec.buckets) == sorted(set(spec.buckets))
    else:
        assert spec.buckets == ()
    if spec.help.startswith("Time "):
        assert "_seconds" in spec.name
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in spec.labels)
    assert len(set(spec.labels)) == len(spec.labels)
    assert not UNBOUNDED & set(spec.labels)


def test_attributes_and_fields_follow_their_naming_rules() -> None:
    for name in SPAN_ATTRIBUTES:
        assert re.fullmatch(r"(gen_ai|infermesh|error)(\.[a-z_]+)+", name)
    for name in LOG_FIELDS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    assert not {"prompt", "body", "messages", "content", "api_key", "authorization"} & LOG_FIELDS
    # Fields that the line has anyway would be given twice.
    assert not {"method", "request_id", "tenant", "key_id", "code", "duration_us"} & LOG_FIELDS


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.name))
def test_what_is_declared_can_be_made_touched_and_read(spec: MetricSpec, metrics: Metrics) -> None:
    labels = {label: "x" for label in spec.labels}
    if spec.kind is Kind.COUNTER:
        counter = metrics.counter(spec.name)
        (counter.labels(**labels) if labels else counter).inc(2)
        assert metrics.sample(spec.name, labels) == 2
    elif spec.kind is Kind.GAUGE:
        gauge = metrics.gauge(spec.name)
        (gauge.labels(**labels) if labels else gauge).set(3)
        assert metrics.sample(spec.name, labels) == 3
    else:
        histogram = metrics.histogram(spec.name)
        (histogram.labels(**labels) if labels else histogram).observe(0.5)
        assert metrics.sample(f"{spec.name}_count", labels) == 1
    parsed = {family.name for family in text_string_to_metric_families(metrics.expose().decode())}
    assert spec.name.removesuffix("_total") in parsed


def test_what_is_not_declared_is_refused(metrics: Metrics) -> None:
    for make in (metrics.counter, metrics.gauge, metrics.histogram):
        with pytest.raises(UndeclaredMetric, match="infermesh_surprise_total"):
            make("infermesh_surprise_total")


def test_a_metric_of_another_kind_is_refused_before_and_after_it_was_made(
    metrics: Metrics,
) -> None:
    for _ in range(2):
        with pytest.raises(UndeclaredMetric):
            metrics.gauge("infermesh_rpc_requests_total")
        with pytest.raises(UndeclaredMetric):
            metrics.counter("infermesh_rpc_in_flight")
        with pytest.raises(UndeclaredMetric):
            metrics.histogram("infermesh_rpc_in_flight")
        metrics.counter("infermesh_rpc_requests_total")
        metrics.gauge("infermesh_rpc_in_flight")


def test_the_same_name_is_the_same_metric_and_two_processes_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    assert one.counter("infermesh_events_dropped_total") is one.counter(
        "infermesh_events_dropped_total"
    )
    one.counter("infermesh_events_dropped_total").inc()
    assert other.sample("infermesh_events_dropped_total") == 0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def read(url: str) -> tuple[int, str, str]:
    with urllib.request.urlopen(url, timeout=20) as response:
        return response.status, response.headers["content-type"], response.read().decode()


@pytest.mark.parametrize(("address", "host"), [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]")])
def test_the_endpoint_serves_text_until_it_is_closed(
    address: str, host: str, metrics: Metrics
) -> None:
    if host == "[::1]" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    metrics.counter("infermesh_events_dropped_total").inc(7)
    endpoint = MetricsEndpoint(metrics, address)
    url = f"http://{host}:{endpoint.port}/metrics"
    try:
        status, content_type, text = read(url)
    finally:
        endpoint.close()
    assert status == 200 and content_type.startswith("text/plain")
    assert "infermesh_events_dropped_total 7.0" in text.splitlines()
    assert "process_cpu_seconds_total" in text
    with pytest.raises(urllib.error.URLError):
        read(url)


def test_the_exposition_is_of_the_version_it_says(metrics: Metrics) -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
    assert metrics.expose().decode().startswith("# HELP ")
