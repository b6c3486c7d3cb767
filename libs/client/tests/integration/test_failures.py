"""Errors, retries and deadlines over a real connection; every test with both clients."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import grpc
import pytest

from infermesh import (
    AsyncClient,
    AsyncInferStream,
    AuthenticationError,
    Client,
    ConflictError,
    DeadlineExceededError,
    InfermeshError,
    InferStream,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnavailableError,
)
from infermesh.router.v1 import inference_pb2
from infermesh.testing import Failure, Hang, ScriptedMesh, Stream

T = TypeVar("T")
AnyClient = Client | AsyncClient
DOWN = Failure(grpc.StatusCode.UNAVAILABLE, "Down.")


async def now(value: T | Awaitable[T]) -> T:
    """The result of a call, of whichever client."""
    return await value if isinstance(value, Awaitable) else value


async def read(stream: InferStream | AsyncInferStream, pieces: list[str]) -> None:
    """Reads a stream, of whichever client, into `pieces`."""
    if isinstance(stream, InferStream):
        for piece in stream:
            pieces.append(piece)
    else:
        async for piece in stream:
            pieces.append(piece)


KINDS = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "OUT_OF_RANGE": InvalidRequestError,
    "UNIMPLEMENTED": InvalidRequestError,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": ConflictError,
    "FAILED_PRECONDITION": ConflictError,
    "ABORTED": ConflictError,
    "RESOURCE_EXHAUSTED": RateLimitError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "INTERNAL": InternalError,
    "UNKNOWN": InternalError,
    "DATA_LOSS": InternalError,
    "CANCELLED": InfermeshError,
}


@pytest.mark.parametrize(("code", "kind"), KINDS.items())
async def test_each_status_has_its_kind_and_is_not_retried(
    mesh: ScriptedMesh, client: AnyClient, code: str, kind: type[InfermeshError]
) -> None:
    mesh.script("Infer", Failure(grpc.StatusCode[code], "No."))
    with pytest.raises(InfermeshError) as failed:
        await now(client.infer("hi"))
    assert type(failed.value) is kind
    assert (failed.value.reason, failed.value.message) == (code, "No.")
    assert len(mesh.received("Infer")) == 1


async def test_an_error_tells_everything_the_mesh_said(
    mesh: ScriptedMesh, client: AnyClient
) -> None:
    mesh.script(
        "Infer",
        Failure(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "The budget of the month is spent.",
            reason="BUDGET_EXHAUSTED",
            metadata={"tenant": "demo"},
            retry_after_s=1.5,
            field="max_tokens",
            request_id="the-server-says",
        ),
    )
    with pytest.raises(RateLimitError) as failed:
        await now(client.infer("hi"))
    assert vars(failed.value) == {
        "message": "The budget of the month is spent.",
        "reason": "BUDGET_EXHAUSTED",
        "request_id": "the-server-says",
        "retry_after_s": 1.5,
        "metadata": {"tenant": "demo"},
        "field": "max_tokens",
    }


async def test_an_error_without_an_id_of_the_server_has_the_one_that_was_sent(
    mesh: ScriptedMesh, client: AnyClient
) -> None:
    mesh.script("GetHealth", Failure(grpc.StatusCode.INTERNAL))
    with pytest.raises(InternalError) as failed:
        await now(client.health())
    assert failed.value.request_id == mesh.calls[0].metadata["x-request-id"]


async def test_a_mesh_that_is_down_for_a_moment_is_not_noticed(
    mesh: ScriptedMesh, client: AnyClient, answer: inference_pb2.InferResponse
) -> None:
    mesh.script("Infer", DOWN, DOWN, answer)
    assert (await now(client.infer("hi"))).text == "Hello there"
    calls = mesh.received("Infer")
    assert len(calls) == 3
    assert len({call.metadata["x-request-id"] for call in calls}) == 1


async def test_a_mesh_that_stays_down_is_asked_three_times(
    mesh: ScriptedMesh, client: AnyClient
) -> None:
    mesh.script("Infer", DOWN)
    with pytest.raises(UnavailableError):
        await now(client.infer("hi"))
    assert len(mesh.received("Infer")) == 3


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 2)])
async def test_the_number_of_retries_is_the_callers(
    mesh: ScriptedMesh, max_retries: int, attempts: int
) -> None:
    mesh.script("GetHealth", DOWN)
    with Client(mesh.address, max_retries=max_retries) as blocking:
        with pytest.raises(UnavailableError):
            blocking.health()
    async with AsyncClient(mesh.address, max_retries=max_retries) as concurrent:
        with pytest.raises(UnavailableError):
            await concurrent.health()
    assert len(mesh.received("GetHealth")) == 2 * attempts


async def test_a_long_outage_is_not_made_worse_by_retries(
    mesh: ScriptedMesh, client: AnyClient
) -> None:
    mesh.script("Infer", DOWN)
    calls = 10
    for _ in range(calls):
        with pytest.raises(UnavailableError):
            await now(client.infer("hi"))
    # Without a budget there would be 3 attempts a call. gRPC's budget of 10 tokens allows retries
    # while more than 5 are left, so at most 5 in all.
    assert calls < len(mesh.received("Infer")) <= calls + 5


@pytest.mark.parametrize("streamed", [False, True])
async def test_no_call_outlives_its_deadline(
    mesh: ScriptedMesh, client: AnyClient, streamed: bool
) -> None:
    hello = inference_pb2.InferStreamResponse(content_delta="Hello")
    mesh.script("Infer", Hang())
    mesh.script("InferStream", Stream((hello, Hang())))
    got: list[str] = []
    with pytest.raises(DeadlineExceededError) as failed:
        if streamed:
            await read(client.infer_stream("hi", timeout_s=0.5), got)
        else:
            await now(client.infer("hi", timeout_s=0.5))
    assert failed.value.reason == "DEADLINE_EXCEEDED"
    assert got == (["Hello"] if streamed else [])


async def test_a_stream_that_breaks_in_the_middle_raises_and_is_not_asked_for_again(
    mesh: ScriptedMesh, client: AnyClient
) -> None:
    hello = inference_pb2.InferStreamResponse(content_delta="Hello")
    broken = Failure(grpc.StatusCode.UNAVAILABLE, "The provider hung up.", reason="PROVIDER_DOWN")
    mesh.script("InferStream", Stream((hello, broken)))
    got: list[str] = []
    stream = client.infer_stream("hi")
    with pytest.raises(UnavailableError) as failed:
        await read(stream, got)
    assert (got, failed.value.reason) == (["Hello"], "PROVIDER_DOWN")
    assert len(mesh.received("InferStream")) == 1
    with pytest.raises(InvalidRequestError):
        stream.result


async def test_a_stream_that_fails_before_its_first_piece_is_asked_for_again(
    mesh: ScriptedMesh, client: AnyClient, answer: inference_pb2.InferResponse
) -> None:
    completed = inference_pb2.InferStreamResponse(completed=answer)
    mesh.script("InferStream", DOWN, Stream((completed,)))
    got: list[str] = []
    stream = client.infer_stream("hi")
    await read(stream, got)
    assert stream.result.text == "Hello there"
    assert len(mesh.received("InferStream")) == 2


async def test_a_stream_that_just_ends_is_not_taken_for_a_whole_answer(
    mesh: ScriptedMesh, client: AnyClient
) -> None:
    hello = inference_pb2.InferStreamResponse(content_delta="Hello")
    mesh.script("InferStream", Stream((hello,)))
    got: list[str] = []
    stream = client.infer_stream("hi")
    with pytest.raises(InternalError) as failed:
        await read(stream, got)
    assert (got, failed.value.reason) == (["Hello"], "STREAM_INCOMPLETE")
    assert failed.value.request_id == stream.request_id


async def test_nobody_listening_is_unavailable() -> None:
    # Port 1 of loopback: a privileged port that no test server gets.
    with Client("127.0.0.1:1", max_retries=0) as blocking:
        with pytest.raises(UnavailableError) as failed:
            blocking.health()
    assert failed.value.reason == "UNAVAILABLE"
    async with AsyncClient("127.0.0.1:1", max_retries=0) as concurrent:
        with pytest.raises(UnavailableError):
            await concurrent.health()


async def test_cancelling_a_task_is_not_turned_into_an_error(mesh: ScriptedMesh) -> None:
    mesh.script("Infer", Hang())
    async with AsyncClient(mesh.address) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.infer("hi")
