"""One channel a target, and retries that cannot make an outage worse."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator

import grpc
import pytest

from infermesh_common import context as request_context
from infermesh_common.context import RequestContext, current
from infermesh_common.errors import (
    FailedPrecondition,
    InfermeshError,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    from_rpc_error,
)
from infermesh_common.rpc.client import Channels, outgoing_metadata
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.testing.rpc import (
    ARITIES,
    RecordingObserver,
    ScriptedClient,
    ScriptedService,
    scripted_server,
)
from infermesh_common.testing.servers import free_port

MOST_ATTEMPTS = 3
# Of the service config: the budget, and the share of it below which nothing is retried.
BUDGET = 10


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    """Channels that are closed at the end."""
    channels = Channels(max_message_bytes=1_000_000)
    yield channels
    await channels.close()


def pipeline(observer: RecordingObserver) -> ServerPipeline:
    return ServerPipeline(observers=[observer], guards=[], default_deadline_ms=60_000)


class Failing:
    """A script that fails as often as it is told, and then works."""

    def __init__(self, error: InfermeshError, times: int) -> None:
        self._error = error
        self._times = times
        self.attempts = 0

    async def __call__(self, text: str) -> AsyncGenerator[str, None]:
        self.attempts += 1
        if self.attempts <= self._times:
            raise self._error
        yield text


async def test_a_target_has_one_channel_until_all_are_closed(channels: Channels) -> None:
    first = channels.to("127.0.0.1:1")
    assert channels.to("127.0.0.1:1") is first
    assert channels.to("127.0.0.1:2") is not first
    await channels.close()
    assert first.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    assert channels.to("127.0.0.1:1") is not first


@pytest.mark.parametrize("arity", ARITIES)
async def test_an_outage_shorter_than_the_retries_is_not_seen(
    arity: str, channels: Channels, observer: RecordingObserver
) -> None:
    script = Failing(Unavailable("DOWN", "It is down."), times=MOST_ATTEMPTS - 1)
    async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
        assert await ScriptedClient(channels.to(target)).answers(arity, "a") == ["a"]
    assert observer.ended_with == ["UNAVAILABLE"] * (MOST_ATTEMPTS - 1) + ["OK"]


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_call_is_tried_so_often_and_no_more(
    arity: str, channels: Channels, observer: RecordingObserver
) -> None:
    script = Failing(Unavailable("DOWN", "It is down."), times=100)
    async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ScriptedClient(channels.to(target)).answers(arity)
    assert from_rpc_error(caught.value).reason == "DOWN"
    assert script.attempts == MOST_ATTEMPTS


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("A", "a"),
        NotFound("A", "a"),
        PermissionDenied("A", "a"),
        Unauthenticated("A", "a"),
        FailedPrecondition("A", "a"),
        ResourceExhausted("A", "a"),
        Internal("A", "a"),
    ],
)
async def test_nothing_but_an_outage_is_retried(
    error: InfermeshError, channels: Channels, observer: RecordingObserver
) -> None:
    script = Failing(error, times=100)
    async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ScriptedClient(channels.to(target)).answers("unary_unary")
    assert caught.value.code() is error.status_code
    assert script.attempts == 1


async def test_a_stream_that_has_begun_is_not_begun_again(
    channels: Channels, observer: RecordingObserver
) -> None:
    attempts = 0

    async def script(text: str) -> AsyncGenerator[str, None]:
        nonlocal attempts
        attempts += 1
        yield "one"
        raise Unavailable("DOWN", "It is down.")

    async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
        with pytest.raises(grpc.aio.AioRpcError):
            await ScriptedClient(channels.to(target)).answers("unary_stream")
    assert attempts == 1


async def test_in_a_long_outage_the_budget_stops_the_retries(
    channels: Channels, observer: RecordingObserver
) -> None:
    script = Failing(Unavailable("DOWN", "It is down."), times=10**9)
    calls = 50
    async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
        client = ScriptedClient(channels.to(target))
        for _ in range(calls):
            with pytest.raises(grpc.aio.AioRpcError):
                await client.answers("unary_unary")
    retries = script.attempts - calls
    # Every failure takes a token; at half of the tokens it is over.
    assert 0 < retries <= BUDGET / 2


async def test_a_target_that_is_down_does_not_spend_the_budget_of_another(
    channels: Channels, observer: RecordingObserver
) -> None:
    down = Failing(Unavailable("DOWN", "It is down."), times=10**9)
    shaky = Failing(Unavailable("DOWN", "It is down."), times=2)
    async with scripted_server(ScriptedService(down), [pipeline(observer)]) as one:
        async with scripted_server(ScriptedService(shaky), [pipeline(observer)]) as other:
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError):
                    await ScriptedClient(channels.to(one)).answers("unary_unary")
            assert await ScriptedClient(channels.to(other)).answers("unary_unary", "a") == ["a"]


async def test_retries_do_not_outlive_the_deadline(
    channels: Channels, observer: RecordingObserver
) -> None:
    async def script(text: str) -> AsyncGenerator[str, None]:
        if len(observer.begun) == 1:
            raise Unavailable("DOWN", "It is down.")
        await asyncio.Event().wait()
        yield text

    async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ScriptedClient(channels.to(target)).answers("unary_unary", timeout_s=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(observer.begun) == 2


async def test_a_target_that_nobody_listens_on_fails_at_once(channels: Channels) -> None:
    client = ScriptedClient(channels.to(f"127.0.0.1:{free_port()}"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.answers("unary_unary", timeout_s=60)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_messages_are_bounded(channels: Channels, observer: RecordingObserver) -> None:
    async with scripted_server(ScriptedService(), [pipeline(observer)]) as target:
        client = ScriptedClient(channels.to(target))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.answers("unary_unary", "x" * 1_000_001)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await client.answers("unary_unary", "x" * 900_000)
    assert len(observer.begun) == 1


async def test_the_caller_and_the_request_are_known_further_on(
    channels: Channels, observer: RecordingObserver
) -> None:
    """A service that calls another one: the second sees the id and the key of the first's call."""
    inner = RecordingObserver()

    async with scripted_server(ScriptedService(), [pipeline(inner)]) as behind:

        async def script(text: str) -> AsyncGenerator[str, None]:
            client = ScriptedClient(channels.to(behind))
            for answer in await client.answers("unary_unary", text, metadata=outgoing_metadata()):
                yield answer

        async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
            client = ScriptedClient(channels.to(target))
            metadata = (("authorization", "Bearer im_x"), ("cookie", "secret"))
            assert await client.answers("unary_unary", "a", metadata=metadata) == ["a"]
    (outer_call,), (inner_call,) = observer.begun, inner.begun
    assert inner_call.request_id == outer_call.request_id
    assert inner_call.metadata["authorization"] == "Bearer im_x"
    assert "cookie" not in inner_call.metadata


async def test_an_error_of_a_service_behind_is_not_told_as_our_own(
    channels: Channels, observer: RecordingObserver
) -> None:
    async def refuses(text: str) -> AsyncGenerator[str, None]:
        raise NotFound("INSIDE", "an inside matter")
        yield text

    async with scripted_server(ScriptedService(refuses), [pipeline(RecordingObserver())]) as behind:

        async def script(text: str) -> AsyncGenerator[str, None]:
            yield (await ScriptedClient(channels.to(behind)).answers("unary_unary"))[0]

        async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ScriptedClient(channels.to(target)).answers("unary_unary")
    assert from_rpc_error(caught.value).reason == "DOWNSTREAM_FAILED"
    assert "inside" not in str(caught.value.details())
    assert set(observer.ended_with) == {"UNAVAILABLE"}


async def test_a_bound_context_is_what_is_handed_on() -> None:
    request_context.bind(RequestContext("/a/B", "id-1", {"x-api-key": "k"}, time.monotonic(), 0))
    assert outgoing_metadata() == (("x-request-id", "id-1"), ("x-api-key", "k"))
    assert current().remaining_s() == 0
