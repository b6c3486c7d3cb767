"""A trace goes through every RPC, whatever its arity, and nowhere else."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from infermesh_common.errors import NotFound
from infermesh_common.rpc.client import Channels
from infermesh_common.rpc.health import Health
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.settings import TelemetrySettings
from infermesh_common.telemetry.registry import SPAN_ATTRIBUTES
from infermesh_common.telemetry.tracing import Tracing, UndeclaredAttribute
from infermesh_common.testing.rpc import (
    ARITIES,
    RecordingObserver,
    Script,
    ScriptedClient,
    ScriptedService,
    echo,
)
from infermesh_common.testing.servers import eventually

PROMPT = "the prompt of a customer"


def settings(ratio: float = 1.0) -> TelemetrySettings:
    return TelemetrySettings(
        log_level="INFO", log_flush_interval_ms=0, otlp_endpoint=None, trace_sample_ratio=ratio
    )


class Traced:
    """A client and a server, each with traces of its own, as two processes have."""

    def __init__(self, channel: grpc.aio.Channel, client: Tracing, server: Tracing) -> None:
        self.channel = channel
        self.calls = ScriptedClient(channel)
        self.client = client
        self.server = server


Exporters = tuple[InMemorySpanExporter, InMemorySpanExporter]


@asynccontextmanager
async def traced(
    exporters: Exporters, observer: RecordingObserver, script: Script = echo, ratio: float = 1.0
) -> AsyncIterator[Traced]:
    """On the way out both flush what they have to their exporters."""
    client = Tracing("client", settings(ratio), exporters[0])
    server = Tracing("server", settings(), exporters[1])
    around = ServerPipeline(observers=[observer], guards=[], default_deadline_ms=20_000)
    running = grpc.aio.server(interceptors=[*server.server_interceptors(), around])
    ScriptedService(script).add_to(running)
    health = Health({})
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, running)
    port = running.add_insecure_port("127.0.0.1:0")
    channels = Channels(max_message_bytes=1_000_000, interceptors=client.client_interceptors())
    async with AsyncExitStack() as stack:
        await running.start()
        await health.start()
        stack.push_async_callback(asyncio.to_thread, server.close)
        stack.push_async_callback(asyncio.to_thread, client.close)
        stack.push_async_callback(eventually, lambda: not around.under_way)
        stack.push_async_callback(running.stop, None)
        stack.push_async_callback(channels.close)
        yield Traced(channels.to(f"127.0.0.1:{port}"), client, server)


@pytest.fixture
def exporters() -> Exporters:
    """Where the spans of the client and of the server end up."""
    return InMemorySpanExporter(), InMemorySpanExporter()


def single(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


@pytest.mark.parametrize("arity", ARITIES)
async def test_the_servers_span_is_the_child_of_the_clients(
    arity: str, exporters: Exporters, observer: RecordingObserver
) -> None:
    async with traced(exporters, observer) as both:
        assert await both.calls.answers(arity, "hello") == ["hello"]
    client, server = single(exporters[0]), single(exporters[1])
    assert client.kind is SpanKind.CLIENT and server.kind is SpanKind.SERVER
    assert client.context is not None and server.context is not None and server.parent is not None
    assert server.context.trace_id == client.context.trace_id
    assert server.parent.span_id == client.context.span_id
    assert client.parent is None
    assert server.resource.attributes["service.name"] == "infermesh-server"


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_handler_works_inside_the_servers_span(
    arity: str, exporters: Exporters, observer: RecordingObserver
) -> None:
    seen: list[int] = []

    async def script(text: str) -> AsyncGenerator[str, None]:
        seen.append(trace.get_current_span().get_span_context().span_id)
        yield text
        seen.append(trace.get_current_span().get_span_context().span_id)

    async with traced(exporters, observer, script) as both:
        await both.calls.answers(arity)
    server = single(exporters[1])
    assert server.context is not None
    assert seen == [server.context.span_id] * 2


@pytest.mark.parametrize("arity", ARITIES)
async def test_an_error_marks_the_span_and_still_arrives_as_it_was(
    arity: str, exporters: Exporters, observer: RecordingObserver
) -> None:
    async def script(text: str) -> AsyncGenerator[str, None]:
        raise NotFound("GONE", "It is gone.")
        yield text

    async with traced(exporters, observer, script) as both:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await both.calls.answers(arity)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    attributes = single(exporters[1]).attributes
    assert attributes is not None
    assert attributes["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert observer.ended_with == ["NOT_FOUND"]


@pytest.mark.parametrize("arity", ARITIES)
async def test_no_span_holds_what_was_said(
    arity: str, exporters: Exporters, observer: RecordingObserver
) -> None:
    async def script(text: str) -> AsyncGenerator[str, None]:
        yield text
        raise ValueError(f"cannot handle {text}")

    async with traced(exporters, observer, script) as both:
        with pytest.raises(grpc.aio.AioRpcError):
            await both.calls.answers(arity, PROMPT)
    spans = [span.to_json() for exporter in exporters for span in exporter.get_finished_spans()]
    assert len(spans) == 2 and PROMPT not in "".join(spans)


@pytest.mark.parametrize("arity", ["unary_stream", "stream_stream"])
async def test_a_cancelled_stream_ends_its_span(
    arity: str, exporters: Exporters, observer: RecordingObserver
) -> None:
    closed = asyncio.Event()

    async def script(text: str) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "x" * 1000
        finally:
            closed.set()

    async with traced(exporters, observer, script) as both:
        call = both.calls.start(arity)
        assert isinstance(call, grpc.aio.UnaryStreamCall | grpc.aio.StreamStreamCall)
        await call.read()
        call.cancel()
        await eventually(lambda: closed.is_set() and bool(observer.ended_with))
    assert observer.ended_with == ["CANCELLED"]
    await eventually(lambda: len(exporters[1].get_finished_spans()) == 1)


async def test_health_leaves_no_trace(exporters: Exporters, observer: RecordingObserver) -> None:
    async with traced(exporters, observer) as both:
        stub = health_pb2_grpc.HealthStub(both.channel)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
        await watch.read()
        watch.cancel()
    assert exporters[1].get_finished_spans() == ()


async def test_what_the_caller_does_not_sample_is_not_sampled_further_on(
    exporters: Exporters, observer: RecordingObserver
) -> None:
    async with traced(exporters, observer, ratio=0) as both:
        await both.calls.answers("unary_unary")
    assert exporters[0].get_finished_spans() == exporters[1].get_finished_spans() == ()


def test_a_span_is_the_child_of_the_current_one_and_tells_errors_without_their_text(
    exporters: Exporters,
) -> None:
    tracing = Tracing("probe", settings(), exporters[0])
    with tracing.span("outer", {"infermesh.tenant": "acme"}) as outer, trace.use_span(outer):
        with pytest.raises(ValueError), tracing.span("inner", {}):
            raise ValueError(PROMPT)
    tracing.close()
    inner_span, outer_span = exporters[0].get_finished_spans()
    assert inner_span.parent is not None and outer_span.context is not None
    assert inner_span.parent.span_id == outer_span.context.span_id
    assert inner_span.status.status_code is StatusCode.ERROR
    assert PROMPT not in inner_span.to_json() and "ValueError" in inner_span.to_json()
    assert dict(outer_span.attributes or {}) == {"infermesh.tenant": "acme"}


@pytest.mark.parametrize("on", [True, False])
def test_an_undeclared_attribute_is_refused_whether_traces_are_on_or_off(
    on: bool, exporters: Exporters
) -> None:
    tracing = Tracing("probe", settings(), exporters[0] if on else None)
    with pytest.raises(UndeclaredAttribute, match="prompt"):
        with tracing.span("work", {"prompt": PROMPT, "infermesh.tenant": "acme"}):
            raise AssertionError("reached")
    with tracing.span("work", dict.fromkeys(SPAN_ATTRIBUTES, "x")):
        pass
    tracing.close()


def test_without_a_collector_there_is_nothing_to_pay_for() -> None:
    tracing = Tracing("probe", settings())
    assert tracing.server_interceptors() == [] and tracing.client_interceptors() == []
    with tracing.span("work", {}) as span:
        assert not span.is_recording()
    tracing.close()


def test_a_collector_that_is_away_does_not_hold_up_the_end() -> None:
    away = settings().model_copy(update={"otlp_endpoint": "http://127.0.0.1:1"})
    tracing = Tracing("probe", away)
    with tracing.span("work", {}) as span:
        assert span.is_recording()
    assert len(tracing.server_interceptors()) == 1 and len(tracing.client_interceptors()) == 4
    tracing.close()
