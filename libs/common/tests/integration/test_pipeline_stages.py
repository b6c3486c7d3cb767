"""What happens around every RPC, whatever its arity."""

import uuid
from collections.abc import AsyncGenerator

import grpc
import pytest

from infermesh_common.context import RequestContext, current
from infermesh_common.errors import InfermeshError, NotFound, PermissionDenied, from_rpc_error
from infermesh_common.rpc.pipeline import ErrorTrailers, ServerPipeline, Trailers
from infermesh_common.testing.rpc import (
    ARITIES,
    METHODS,
    SERVICE,
    Metadata,
    RecordingObserver,
    ScriptedService,
    scripted_client,
    scripted_server,
)

SECRET = "the prompt of a customer"


class Step:
    """A stage that writes down when it is asked."""

    def __init__(self, name: str, steps: list[str]) -> None:
        self._name = name
        self._steps = steps

    def began(self, call: RequestContext) -> None:
        """As an observer."""
        self._steps.append(f"{self._name} began")

    def ended(self, call: RequestContext, code: str) -> None:
        """As an observer."""
        self._steps.append(f"{self._name} ended {code}")

    def admit(self, call: RequestContext) -> None:
        """As a guard."""
        self._steps.append(f"{self._name} admitted")


class Refusal:
    """A guard that refuses everything."""

    def admit(self, call: RequestContext) -> None:
        """Refuses."""
        raise PermissionDenied("NOT_YOU", "You may not.")


def pipeline(
    observer: RecordingObserver, error_trailers: ErrorTrailers | None = None
) -> ServerPipeline:
    return ServerPipeline(
        observers=[observer],
        guards=[],
        default_deadline_ms=20_000,
        error_trailers=error_trailers,
    )


@pytest.mark.parametrize("arity", ARITIES)
async def test_stages_run_from_outer_to_inner_and_back(arity: str) -> None:
    steps: list[str] = []

    async def script(text: str) -> AsyncGenerator[str, None]:
        steps.append("handler")
        yield text

    around = ServerPipeline(
        observers=[Step("outer", steps), Step("inner", steps)],
        guards=[Step("first", steps), Step("second", steps)],
        default_deadline_ms=20_000,
    )
    async with scripted_server(ScriptedService(script), [around]) as target:
        async with scripted_client(target) as client:
            assert await client.answers(arity, "hello") == ["hello"]
    assert steps == [
        "outer began",
        "inner began",
        "first admitted",
        "second admitted",
        "handler",
        "inner ended OK",
        "outer ended OK",
    ]


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_refused_call_never_reaches_the_handler_and_is_observed(
    arity: str, observer: RecordingObserver
) -> None:
    async def script(text: str) -> AsyncGenerator[str, None]:
        raise AssertionError("reached")
        yield text

    around = ServerPipeline(observers=[observer], guards=[Refusal()], default_deadline_ms=20_000)
    async with scripted_server(ScriptedService(script), [around]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers(arity)
    assert observer.ended_with == ["PERMISSION_DENIED"]
    if arity.startswith("unary"):
        # A grpc.aio client that is still sending may see its own failed write instead.
        assert from_rpc_error(caught.value).reason == "NOT_YOU"


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_domain_error_arrives_as_it_was_raised(
    arity: str, observer: RecordingObserver
) -> None:
    raised = NotFound(
        "MODEL_NOT_FOUND",
        "There is no model of that name.",
        metadata={"model": "gpt-x"},
        retry_after_s=1.5,
        field="model",
    )

    async def script(text: str) -> AsyncGenerator[str, None]:
        raise raised
        yield text

    async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers(arity)
    arrived = from_rpc_error(caught.value)
    assert vars(arrived) == vars(raised) and type(arrived) is NotFound
    assert observer.ended_with == ["NOT_FOUND"]


@pytest.mark.parametrize("arity", ARITIES)
async def test_nothing_a_defect_says_leaves_the_server(
    arity: str, observer: RecordingObserver
) -> None:
    async def script(text: str) -> AsyncGenerator[str, None]:
        raise ValueError(f"cannot handle {text}")
        yield text

    async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers(arity, SECRET)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in repr((caught.value.details(), caught.value.trailing_metadata()))
    assert "ValueError" not in repr((caught.value.details(), caught.value.trailing_metadata()))
    assert observer.ended_with == ["INTERNAL"]


@pytest.mark.parametrize("arity", ARITIES)
async def test_errors_carry_the_request_id_and_the_trailers_of_the_surface(
    arity: str, observer: RecordingObserver
) -> None:
    def trailers(call: RequestContext, error: InfermeshError) -> Trailers:
        return (("x-surface", f"{call.method} {error.reason}"),)

    async def script(text: str) -> AsyncGenerator[str, None]:
        raise NotFound("GONE", "It is gone.")
        yield text

    around = pipeline(observer, error_trailers=trailers)
    async with scripted_server(ScriptedService(script), [around]) as target:
        async with scripted_client(target) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers(arity)
    sent = dict(caught.value.trailing_metadata() or ())
    assert sent["x-surface"] == f"{METHODS[arity]} GONE"
    assert sent["x-request-id"] == observer.begun[0].request_id


@pytest.mark.parametrize("arity", ARITIES)
@pytest.mark.parametrize(
    "claimed", ["", "1", "' OR 1=1", "g" * 32, "11111111-1111-4111-8111-11111111111", "x" * 36]
)
async def test_a_request_id_that_is_no_uuid_is_replaced(
    arity: str, claimed: str, observer: RecordingObserver
) -> None:
    async with scripted_server(ScriptedService(), [pipeline(observer)]) as target:
        async with scripted_client(target) as client:
            await client.answers(arity, metadata=(("x-request-id", claimed),))
    (call,) = observer.begun
    assert call.request_id != claimed
    assert uuid.UUID(call.request_id).version == 4


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_request_id_that_is_a_uuid_is_kept(arity: str, observer: RecordingObserver) -> None:
    claimed = uuid.uuid4()
    async with scripted_server(ScriptedService(), [pipeline(observer)]) as target:
        async with scripted_client(target) as client:
            await client.answers(arity, metadata=(("x-request-id", str(claimed).upper()),))
    assert [call.request_id for call in observer.begun] == [str(claimed)]


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_handler_sees_its_own_request_and_binary_metadata_is_left_out(
    arity: str, observer: RecordingObserver
) -> None:
    seen: list[RequestContext] = []

    async def script(text: str) -> AsyncGenerator[str, None]:
        seen.append(current())
        yield text

    metadata: Metadata = (("x-a", "1"), ("x-b-bin", b"\x00"))
    async with scripted_server(ScriptedService(script), [pipeline(observer)]) as target:
        async with scripted_client(target) as client:
            await client.answers(arity, metadata=metadata)
    assert seen == observer.begun
    assert seen[0].method == METHODS[arity]
    assert seen[0].metadata["x-a"] == "1" and "x-b-bin" not in seen[0].metadata


async def test_an_unknown_method_is_unimplemented(observer: RecordingObserver) -> None:
    async with scripted_server(ScriptedService(), [pipeline(observer)]) as target:
        async with grpc.aio.insecure_channel(target) as channel:
            for path in (f"/{SERVICE}/nothing", "/infermesh.test.v1.Other/unary_unary"):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(path, bytes, bytes)(b"", timeout=20)
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert observer.begun == []


@pytest.mark.parametrize("arity", ["unary_unary", "unary_stream"])
async def test_a_malformed_request_is_the_callers_fault(
    arity: str, observer: RecordingObserver
) -> None:
    async with scripted_server(ScriptedService(), [pipeline(observer)]) as target:
        async with grpc.aio.insecure_channel(target) as channel:
            call = getattr(channel, arity)(METHODS[arity])(b"\xff\xff\xff", timeout=20)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call if arity == "unary_unary" else [part async for part in call]
    assert from_rpc_error(caught.value).reason == "REQUEST_MALFORMED"
    assert observer.ended_with == ["INVALID_ARGUMENT"]


async def test_who_may_not_call_is_told_so_before_the_request_is_parsed() -> None:
    around = ServerPipeline(observers=[], guards=[Refusal()], default_deadline_ms=20_000)
    async with scripted_server(ScriptedService(), [around]) as target:
        async with grpc.aio.insecure_channel(target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                method = channel.unary_unary(METHODS["unary_unary"], bytes, bytes)
                await method(b"\xff\xff\xff", timeout=20)
    assert from_rpc_error(caught.value).reason == "NOT_YOU"


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_service_about_to_stop_refuses_in_a_way_that_is_retried_elsewhere(
    arity: str, observer: RecordingObserver
) -> None:
    around = pipeline(observer)
    assert not around.busy
    async with scripted_server(ScriptedService(), [around]) as target:
        async with scripted_client(target) as client:
            assert await client.answers(arity, "a") == ["a"]
            assert around.busy, "a call came a moment ago"
            around.close()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers(arity)
    assert observer.ended_with == ["OK", "UNAVAILABLE"]
    if arity.startswith("unary"):
        # A grpc.aio client that is still sending may see its own failed write instead.
        assert from_rpc_error(caught.value).reason == "SERVICE_STOPPING"
