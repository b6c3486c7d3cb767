"""No call outlives its deadline, and nobody waits for an answer that cannot come."""

import asyncio
from collections.abc import AsyncGenerator

import grpc
import pytest

from infermesh_common.context import current, time_budget_s
from infermesh_common.errors import from_rpc_error
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.testing.rpc import (
    ARITIES,
    RecordingObserver,
    ScriptedService,
    scripted_client,
    scripted_server,
)
from infermesh_common.testing.servers import eventually

PATIENCE_S = 60.0


def pipeline(observer: RecordingObserver, default_deadline_ms: int) -> ServerPipeline:
    return ServerPipeline(observers=[observer], guards=[], default_deadline_ms=default_deadline_ms)


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_handler_that_never_ends_is_ended_by_the_default_deadline(
    arity: str, observer: RecordingObserver
) -> None:
    closed = asyncio.Event()

    async def script(text: str) -> AsyncGenerator[str, None]:
        try:
            await asyncio.Event().wait()
            yield text
        finally:
            closed.set()

    async with scripted_server(ScriptedService(script), [pipeline(observer, 200)]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers(arity, timeout_s=None)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert from_rpc_error(caught.value).reason == "DEADLINE_EXCEEDED"
    assert closed.is_set()
    assert observer.ended_with == ["DEADLINE_EXCEEDED"]


@pytest.mark.parametrize("arity", ARITIES)
async def test_the_callers_deadline_is_inherited_and_ends_the_handler(
    arity: str, observer: RecordingObserver
) -> None:
    closed = asyncio.Event()
    budgets: list[float] = []

    async def script(text: str) -> AsyncGenerator[str, None]:
        budgets.extend((current().remaining_s(), time_budget_s(3_600_000), time_budget_s(1)))
        try:
            await asyncio.Event().wait()
            yield text
        finally:
            closed.set()

    around = pipeline(observer, 3_600_000)
    async with scripted_server(ScriptedService(script), [around]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers(arity, timeout_s=0.5)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await eventually(lambda: bool(observer.ended_with), what="the handler ends")
    remaining_s, budget_s, small_s = budgets
    assert 0 < budget_s <= remaining_s <= 0.5
    assert small_s == 0.001
    assert closed.is_set()
    assert observer.ended_with == ["DEADLINE_EXCEEDED"]


@pytest.mark.parametrize("arity", ["unary_stream", "stream_stream"])
async def test_a_stream_that_never_pauses_is_ended_by_its_deadline(
    arity: str, observer: RecordingObserver
) -> None:
    async def script(text: str) -> AsyncGenerator[str, None]:
        while True:
            yield "x"

    async with scripted_server(ScriptedService(script), [pipeline(observer, 200)]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers(arity, timeout_s=None)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert observer.ended_with == ["DEADLINE_EXCEEDED"]


@pytest.mark.parametrize("arity", ["unary_stream", "stream_stream"])
async def test_a_reader_that_pauses_past_the_deadline_is_still_told_the_status(
    arity: str, observer: RecordingObserver
) -> None:
    sent = 0

    async def script(text: str) -> AsyncGenerator[str, None]:
        nonlocal sent
        while True:
            sent += 1
            yield "x" * 65_536

    async with scripted_server(ScriptedService(script), [pipeline(observer, 200)]) as target:
        async with scripted_client(target) as client:
            call = client.start(arity, timeout_s=None)
            assert isinstance(call, grpc.aio.UnaryStreamCall | grpc.aio.StreamStreamCall)
            await call.read()
            # Flow control stops the server; then its deadline passes while it is sending.
            await eventually(lambda: sent > 1 and observer.begun[0].remaining_s() == 0)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with asyncio.timeout(PATIENCE_S):
                    while await call.read() is not grpc.aio.EOF:
                        pass
                    raise AssertionError(f"ended with {await call.code()}")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert observer.ended_with == ["DEADLINE_EXCEEDED"]


@pytest.mark.parametrize("arity", ["unary_stream", "stream_stream"])
async def test_a_deadline_that_passes_while_the_server_is_sending_is_no_cancellation(
    arity: str, observer: RecordingObserver
) -> None:
    async def script(text: str) -> AsyncGenerator[str, None]:
        while True:
            yield "x" * 65_536

    async with scripted_server(ScriptedService(script), [pipeline(observer, 60_000)]) as target:
        async with scripted_client(target) as client:
            call = client.start(arity, timeout_s=0.5)
            await eventually(lambda: bool(observer.ended_with), what="the call ends")
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert observer.ended_with == ["DEADLINE_EXCEEDED"]


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_handler_that_ends_cancelled_by_something_else_answers_all_the_same(
    arity: str, observer: RecordingObserver
) -> None:
    async def script(text: str) -> AsyncGenerator[str, None]:
        shared = asyncio.get_running_loop().create_future()
        shared.cancel()
        yield await shared

    async with scripted_server(ScriptedService(script), [pipeline(observer, 60_000)]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with asyncio.timeout(PATIENCE_S):
                    await client.answers(arity, timeout_s=None)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert observer.ended_with == ["INTERNAL"]


Context = grpc.aio.ServicerContext[bytes, bytes]


async def refuse(request: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.OUT_OF_RANGE, "too far")


async def refuse_stream(request: bytes, context: Context) -> AsyncGenerator[bytes, None]:
    await context.abort(grpc.StatusCode.OUT_OF_RANGE, "too far")
    yield request


async def test_a_handler_may_refuse_by_itself(observer: RecordingObserver) -> None:
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "RefuseStream": grpc.unary_stream_rpc_method_handler(refuse_stream),
    }
    server = grpc.aio.server(interceptors=[pipeline(observer, 60_000)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.T", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/test.T/Refuse", bytes, bytes)(b"", timeout=20)
            assert (caught.value.code(), caught.value.details()) == (
                grpc.StatusCode.OUT_OF_RANGE,
                "too far",
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                stream = channel.unary_stream("/test.T/RefuseStream", bytes, bytes)
                async for _ in stream(b"", timeout=20):
                    raise AssertionError("nothing was sent")
            assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    finally:
        await server.stop(None)
    assert observer.ended_with == ["OUT_OF_RANGE", "OUT_OF_RANGE"]
