"""Prometheus metrics of one process, by their declared names."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    start_http_server,
)

from infermesh_common.telemetry.registry import METRICS, Kind, MetricSpec

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class UndeclaredMetric(Exception):
    """A metric that `telemetry.registry` does not declare was asked for."""


class Metrics:
    """The metrics of one process. Made by the composition root, never global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._made: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, name: str) -> Counter:
        """The counter of that name.

        Raises:
            UndeclaredMetric: no such counter is declared.
        """
        metric = self._get(name, Kind.COUNTER)
        assert isinstance(metric, Counter)
        return metric

    def gauge(self, name: str) -> Gauge:
        """The gauge of that name; errors as `counter`."""
        metric = self._get(name, Kind.GAUGE)
        assert isinstance(metric, Gauge)
        return metric

    def histogram(self, name: str) -> Histogram:
        """The histogram of that name; errors as `counter`."""
        metric = self._get(name, Kind.HISTOGRAM)
        assert isinstance(metric, Histogram)
        return metric

    def _get(self, name: str, kind: Kind) -> Counter | Gauge | Histogram:
        spec = METRICS.get(name)
        if spec is None or spec.kind is not kind:
            raise UndeclaredMetric(f"{name} is not declared as a {kind.value}")
        if name not in self._made:
            self._made[name] = self._make(spec)
        return self._made[name]

    def _make(self, spec: MetricSpec) -> Counter | Gauge | Histogram:
        if spec.kind is Kind.HISTOGRAM:
            return Histogram(
                spec.name, spec.help, spec.labels, buckets=spec.buckets, registry=self.registry
            )
        if spec.kind is Kind.GAUGE:
            return Gauge(spec.name, spec.help, spec.labels, registry=self.registry)
        return Counter(spec.name, spec.help, spec.labels, registry=self.registry)

    def expose(self) -> bytes:
        """All metrics in Prometheus text format 0.0.4 (see `CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def sample(self, name: str, labels: dict[str, str] | None = None) -> float:
        """Current value of one sample; 0 when it was never touched."""
        return self.registry.get_sample_value(name, labels or {}) or 0.0


class MetricsEndpoint:
    """Serves `/metrics` on a port of its own, from a thread of prometheus_client.

    Args:
        metrics: what to serve.
        address: "host:port", an IPv6 host in brackets; port 0 picks a free one.
    """

    def __init__(self, metrics: Metrics, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._server, self._thread = start_http_server(
            int(port), addr=host.strip("[]"), registry=metrics.registry
        )
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
