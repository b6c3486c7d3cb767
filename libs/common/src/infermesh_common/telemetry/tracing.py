"""OpenTelemetry traces: W3C context in, spans out to an OTLP collector when one is set."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import grpc
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
from opentelemetry.instrumentation.grpc.filters import negate, service_prefix
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from infermesh_common.settings import TelemetrySettings
from infermesh_common.telemetry.registry import SPAN_ATTRIBUTES

# Retries included; a collector that is away must not hold up the end of a service for long.
_EXPORT_TIMEOUT_S = 2.0


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
        self, service: str, settings: TelemetrySettings, exporter: SpanExporter | None = None
    ) -> None:
        self._provider: TracerProvider | None = None
        if exporter is None and settings.otlp_endpoint is not None:
            insecure = not settings.otlp_endpoint.startswith("https://")
            exporter = OTLPSpanExporter(
                endpoint=settings.otlp_endpoint, insecure=insecure, timeout=_EXPORT_TIMEOUT_S
            )
        if exporter is not None:
            self._provider = TracerProvider(
                resource=Resource.create({"service.name": f"infermesh-{service}"}),
                sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)),
            )
            self._provider.add_span_processor(BatchSpanProcessor(exporter))

    def server_interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """What a server needs to continue its callers' traces."""
        if self._provider is None:
            return []
        # Health and Reflection abort streams in ways the instrumentation does not survive.
        watched = negate(service_prefix("grpc."))
        return [aio_server_interceptor(tracer_provider=self._provider, filter_=watched)]

    def client_interceptors(self) -> list[grpc.aio.ClientInterceptor]:
        """What a channel needs to hand the trace on; one interceptor per arity."""
        if self._provider is None:
            return []
        return list(aio_client_interceptors(tracer_provider=self._provider))

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str | int | float]) -> Iterator[trace.Span]:
        """A span around a block, a child of the current one. It does not become the current one
        itself, so that the block may be one of an async generator, which changes contexts.

        Raises:
            UndeclaredAttribute: an attribute is not in the registry, whether traces are on or not.
        """
        check_attributes(attributes)
        if self._provider is None:
            yield trace.INVALID_SPAN
            return
        tracer = self._provider.get_tracer("infermesh")
        span = tracer.start_span(name, attributes=dict(attributes))
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
        if self._provider is not None:
            self._provider.shutdown()


def check_attributes(attributes: Mapping[str, str | int | float]) -> None:
    """Refuses undeclared attributes.

    Raises:
        UndeclaredAttribute: names them.
    """
    if unknown := attributes.keys() - SPAN_ATTRIBUTES:
        raise UndeclaredAttribute(", ".join(sorted(unknown)))
