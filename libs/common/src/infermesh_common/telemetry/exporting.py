"""Spans out to an OTLP collector. Loaded only where one is set: the libraries take 10 MB."""

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
from opentelemetry.instrumentation.grpc.filters import negate, service_prefix
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

# Retries included; a collector that is away must not hold up the end of a service for long.
_EXPORT_TIMEOUT_S = 2.0


def collector(endpoint: str) -> SpanExporter:
    """What sends spans to the OTLP collector at `endpoint`, a URL."""
    insecure = not endpoint.startswith("https://")
    return OTLPSpanExporter(endpoint=endpoint, insecure=insecure, timeout=_EXPORT_TIMEOUT_S)


class SpanExport:
    """Makes spans and exports them.

    Args:
        service: name of the service.
        exporter: where spans go.
        sample_ratio: share of the traces that begin here, in [0, 1].
    """

    def __init__(self, service: str, exporter: SpanExporter, sample_ratio: float) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": f"infermesh-{service}"}),
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer: trace.Tracer = self._provider.get_tracer("infermesh")

    def server_interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """What a server needs to continue its callers' traces."""
        # Health and Reflection abort streams in ways the instrumentation does not survive.
        watched = negate(service_prefix("grpc."))
        return [aio_server_interceptor(tracer_provider=self._provider, filter_=watched)]

    def client_interceptors(self) -> list[grpc.aio.ClientInterceptor]:
        """What a channel needs to hand the trace on; one interceptor per arity."""
        return list(aio_client_interceptors(tracer_provider=self._provider))

    def close(self) -> None:
        """Flushes what has not been exported."""
        self._provider.shutdown()
