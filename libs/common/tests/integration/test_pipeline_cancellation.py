"""A caller that leaves ends the work done for it, and leaves nothing behind."""

import asyncio
from collections.abc import AsyncGenerator

import grpc
import pytest

from infermesh_common.context import current
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.rpc.stages import RpcMetrics
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.rpc import (
    ARITIES,
    METHODS,
    RecordingObserver,
    ScriptedService,
    scripted_client,
    scripted_server,
)
from infermesh_common.testing.servers import eventually

STREAMED = ["unary_stream", "stream_stream"]


def pipeline(observer: RecordingObserver, metrics: Metrics) -> ServerPipeline:
    return ServerPipeline(
        observers=[observer, RpcMetrics("test", metrics)], guards=[], default_deadline_ms=60_000
    )


def in_flight(metrics: Metrics) -> float:
    return metrics.sample("infermesh_rpc_in_flight", {"service": "test"})


def ended(metrics: Metrics, arity: str, code: str) -> float:
    labels = {"service": "test", "method": METHODS[arity], "code": code}
    return metrics.sample("infermesh_rpc_requests_total", labels)


class Work:
    """A script that can be watched."""

    def __init__(self, *, pieces: int = 0, size: int = 1) -> None:
        self.started = asyncio.Event()
        self.request_ids_at_the_end: list[str] = []
        self._pieces = pieces
        self._text = "x" * size

    async def __call__(self, text: str) -> AsyncGenerator[str, None]:
        try:
            for _ in range(self._pieces):
                yield self._text
                self.started.set()
            self.started.set()
            await asyncio.Event().wait()
        finally:
            self.request_ids_at_the_end.append(current().request_id)


@pytest.mark.parametrize("arity", ARITIES)
async def test_cancellation_reaches_a_handler_that_waits(
    arity: str, observer: RecordingObserver, metrics: Metrics
) -> None:
    work = Work()
    async with scripted_server(ScriptedService(work), [pipeline(observer, metrics)]) as target:
        async with scripted_client(target) as client:
            call = asyncio.ensure_future(client.answers(arity))
            await work.started.wait()
            assert in_flight(metrics) == 1
            call.cancel()
            await eventually(lambda: bool(observer.ended_with), what="the handler ends")
    assert observer.ended_with == ["CANCELLED"]
    assert work.request_ids_at_the_end == [observer.begun[0].request_id]
    assert in_flight(metrics) == 0
    assert ended(metrics, arity, "CANCELLED") == 1


@pytest.mark.parametrize("arity", STREAMED)
@pytest.mark.parametrize("size", [1, 65_536])
async def test_cancellation_closes_a_generator_that_is_being_sent(
    arity: str, size: int, observer: RecordingObserver, metrics: Metrics
) -> None:
    work = Work(pieces=1_000_000, size=size)
    async with scripted_server(ScriptedService(work), [pipeline(observer, metrics)]) as target:
        async with scripted_client(target) as client:
            call = client.start(arity)
            await work.started.wait()
            call.cancel()
            await eventually(lambda: bool(observer.ended_with), what="the generator is closed")
    assert observer.ended_with == ["CANCELLED"]
    assert work.request_ids_at_the_end == [observer.begun[0].request_id]
    assert in_flight(metrics) == 0


@pytest.mark.parametrize("arity", STREAMED)
async def test_a_stream_that_fails_half_way_closes_its_generator_first(
    arity: str, observer: RecordingObserver, metrics: Metrics
) -> None:
    order: list[str] = []

    async def script(text: str) -> AsyncGenerator[str, None]:
        try:
            yield "one"
            raise ValueError(text)
        finally:
            order.append(f"closed before {len(observer.ended_with)} ended")

    async with scripted_server(ScriptedService(script), [pipeline(observer, metrics)]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers(arity)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert order == ["closed before 0 ended"]


async def test_no_task_and_no_call_in_flight_is_left_after_many_cancelled_calls(
    observer: RecordingObserver, metrics: Metrics
) -> None:
    before = asyncio.all_tasks()
    work = Work(pieces=3)
    async with scripted_server(ScriptedService(work), [pipeline(observer, metrics)]) as target:
        async with scripted_client(target) as client:
            calls = [client.start(arity) for arity in ARITIES for _ in range(10)]
            await eventually(lambda: len(observer.begun) == len(calls))
            for call in calls:
                call.cancel()
            await eventually(lambda: len(observer.ended_with) == len(calls))
    assert set(observer.ended_with) == {"CANCELLED"}
    assert len(work.request_ids_at_the_end) == len(calls)
    assert in_flight(metrics) == 0
    await eventually(lambda: asyncio.all_tasks() <= before, what="no task is left")


async def test_stopping_the_server_ends_the_calls_under_way(
    observer: RecordingObserver, metrics: Metrics
) -> None:
    server = scripted_server(ScriptedService(Work()), [pipeline(observer, metrics)])
    async with scripted_client(await server.__aenter__()) as client:
        calls = [asyncio.ensure_future(client.answers(arity)) for arity in ARITIES]
        await eventually(lambda: len(observer.begun) == len(calls))
        await server.__aexit__(None, None, None)
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, grpc.aio.AioRpcError) for result in results)
    await eventually(lambda: observer.ended_with == ["CANCELLED"] * len(ARITIES))
    assert in_flight(metrics) == 0
