"""OpenTelemetry traces: W3C context in, spans out to an OTLP collector when one is set."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from opentelemetry import trace

from infermesh_common.settings import TelemetrySettings
from infermesh_common.telemetry.registry import SPAN_ATTRIBUTES

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from infermesh_common.telemetry.exporting import SpanExport


class UndeclaredAttribute(Exception):
    """A span attribute that `telemetry.registry` does not declare was set."""


class Tracing:
    """Traces of one process; costs nothing when no collector is set.

    Args:
        service: name of the service.
        settings: collector and sampling.
        exporter: where spans go instead of the collector; for tests.
    """

    def __init__(
        self, service: str, settings: TelemetrySettings, exporter: "SpanExporter | None" = None
    ) -> None:
        self._export: "SpanExport | None" = None
        if exporter is not None or settings.otlp_endpoint is not None:
            from infermesh_common.telemetry import exporting

            to = exporter or exporting.collector(settings.otlp_endpoint or "")
            self._export = exporting.SpanExport(service, to, settings.trace_sample_ratio)

    def server_interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """What a server needs to continue its callers' traces."""
        return self._export.server_interceptors() if self._export else []

    def client_interceptors(self) -> list[grpc.aio.ClientInterceptor]:
        """What a channel needs to hand the trace on; one interceptor per arity."""
        return self._export.client_interceptors() if self._export else []

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str | int | float]) -> Iterator[trace.Span]:
        """A span around a block, a child of the current one. It does not become the current one
        itself, so that the block may be one of an async generator, which changes contexts.

        Raises:
            UndeclaredAttribute: an attribute is not in the registry, whether traces are on or not.
        """
        check_attributes(attributes)
        if self._export is None:
            yield trace.INVALID_SPAN
            return
        span = self._export.tracer.start_span(name, attributes=dict(attributes))
        try:
            yield span
        except Exception as error:
            # Not record_exception: the text of an error may quote a prompt.
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Flushes what has not been exported."""
        if self._export is not None:
            self._export.close()


def check_attributes(attributes: Mapping[str, str | int | float]) -> None:
    """Refuses undeclared attributes.

    Raises:
        UndeclaredAttribute: names them.
    """
    if unknown := attributes.keys() - SPAN_ATTRIBUTES:
        raise UndeclaredAttribute(", ".join(sorted(unknown)))
