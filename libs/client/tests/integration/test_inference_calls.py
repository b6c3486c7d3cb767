"""Inferences over a real connection; every test with the blocking client and with asyncio's."""

import asyncio
from collections.abc import Awaitable
from decimal import Decimal
from typing import TypeVar

import pytest

from infermesh import (
    AsyncClient,
    AsyncInferStream,
    CacheControl,
    CacheStatus,
    Client,
    InferStream,
    InvalidRequestError,
    Message,
    Tier,
    TokenUsage,
    ToolCall,
)
from infermesh.router.v1 import inference_pb2
from infermesh.testing import Hang, ScriptedMesh, Stream

T = TypeVar("T")
AnyClient = Client | AsyncClient


async def now(value: T | Awaitable[T]) -> T:
    """The result of a call, of whichever client."""
    return await value if isinstance(value, Awaitable) else value


async def pieces(stream: InferStream | AsyncInferStream) -> list[str]:
    """All of a stream, of whichever client."""
    if isinstance(stream, InferStream):
        return list(stream)
    return [piece async for piece in stream]


def delta(text: str) -> inference_pb2.InferStreamResponse:
    """A piece of a streamed answer."""
    return inference_pb2.InferStreamResponse(content_delta=text)


async def test_an_answer_comes_with_its_decision(
    mesh: ScriptedMesh, client: AnyClient, answer: inference_pb2.InferResponse
) -> None:
    mesh.script("Infer", answer)
    result = await now(client.infer("hi"))
    assert (result.text, result.model, result.finish_reason) == (
        "Hello there",
        "small-2026",
        "stop",
    )
    assert result.message == Message("assistant", "Hello there")
    assert result.usage == TokenUsage(input_tokens=10, output_tokens=6)
    assert result.request_id == "r-1"
    decision = result.decision
    assert (decision.tier, decision.cache_status) == (Tier.NONE, CacheStatus.MISS)
    assert (decision.cost, decision.saved) == (Decimal("0.0000125"), Decimal("0.0009875"))
    assert decision.candidates[1].estimated_cost is None


async def test_everything_a_caller_states_arrives(
    mesh: ScriptedMesh, client: AnyClient, answer: inference_pb2.InferResponse
) -> None:
    mesh.script("Infer", answer)
    await now(
        client.infer(
            messages=[Message("system", "be brief"), {"role": "user", "content": "hi"}],
            model="fast",
            acceptable_models=["small", "large"],
            task="code",
            temperature=0.5,
            top_p=0.9,
            max_tokens=100,
            seed=7,
            stop=["END"],
            cache=CacheControl(refresh=True, no_store=True, max_age_s=60, ttl_s=30),
            tags=["team=search"],
            request_id="123e4567-e89b-42d3-a456-426614174000",
            tools=[{"type": "function", "function": {"name": "f"}}],
            extra_body={"user": "u1"},
        )
    )
    expected = inference_pb2.InferRequest(
        request_id="123e4567-e89b-42d3-a456-426614174000",
        model="fast",
        acceptable_models=["small", "large"],
        messages=[
            inference_pb2.Message(role="system", content="be brief"),
            inference_pb2.Message(role="user", content="hi"),
        ],
        task="code",
        temperature=0.5,
        top_p=0.9,
        max_tokens=100,
        seed=7,
        stop=["END"],
        tags=["team=search"],
    )
    expected.cache.refresh = expected.cache.no_store = True
    expected.cache.max_age.seconds = 60
    expected.cache.ttl.seconds = 30
    expected.parameters.update(
        {"tools": [{"type": "function", "function": {"name": "f"}}], "user": "u1"}
    )
    assert [call.request for call in mesh.received("Infer")] == [expected]


async def test_every_call_has_key_request_id_and_deadline(
    mesh: ScriptedMesh, client: AnyClient, answer: inference_pb2.InferResponse
) -> None:
    completed = inference_pb2.InferStreamResponse(completed=answer)
    mesh.script("Infer", answer)
    mesh.script("InferStream", Stream((completed,)))
    await now(client.infer("hi"))
    await now(client.infer("hi", timeout_s=5))
    await pieces(client.infer_stream("hi", timeout_s=7))
    assert [call.metadata["authorization"] for call in mesh.calls] == ["Bearer im_0123_secret"] * 3
    # gRPC rounds time-outs up on the wire.
    for call, limit_s in zip(mesh.calls, (20, 5, 7), strict=True):
        assert call.remaining_s < limit_s + 1
    for call in mesh.calls:
        request = call.request
        if isinstance(request, inference_pb2.InferStreamRequest):
            request = request.request
        assert isinstance(request, inference_pb2.InferRequest)
        assert call.metadata["x-request-id"] == request.request_id
    assert len({call.metadata["x-request-id"] for call in mesh.calls}) == 3


async def test_tool_calls_of_an_answer_can_be_sent_back(
    mesh: ScriptedMesh, client: AnyClient, answer: inference_pb2.InferResponse
) -> None:
    answer.message.content = ""
    answer.message.tool_calls.add(id="c1", name="weather", arguments='{"city": "Kyoto"}')
    mesh.script("Infer", answer)
    first = await now(client.infer("weather?"))
    assert first.text == ""
    assert first.message.tool_calls == (ToolCall("c1", "weather", '{"city": "Kyoto"}'),)
    result_turn = Message("tool", "sunny", tool_call_id="c1")
    await now(client.infer(messages=[first.message, result_turn]))
    sent = mesh.received("Infer")[1].request
    assert isinstance(sent, inference_pb2.InferRequest)
    assert sent.messages[0] == answer.message


async def test_a_stream_gives_its_pieces_and_then_its_result(
    mesh: ScriptedMesh, client: AnyClient, answer: inference_pb2.InferResponse
) -> None:
    completed = inference_pb2.InferStreamResponse(completed=answer)
    mesh.script("InferStream", Stream((delta("Hello"), delta(" there"), completed)))
    stream = client.infer_stream("hi", request_id="123e4567-e89b-42d3-a456-426614174000")
    assert stream.request_id == "123e4567-e89b-42d3-a456-426614174000"
    with pytest.raises(InvalidRequestError) as early:
        stream.result
    assert early.value.reason == "STREAM_NOT_FINISHED"
    assert await pieces(stream) == ["Hello", " there"]
    assert stream.result.text == "Hello there"
    assert stream.result.decision.decision_id == "d-1"
    assert await pieces(stream) == []


async def test_leaving_a_stream_cancels_it(mesh: ScriptedMesh, client: AnyClient) -> None:
    mesh.script("InferStream", Stream((delta("Hello"), Hang())))
    stream = client.infer_stream("hi")
    if isinstance(stream, InferStream):
        with stream:
            assert next(stream) == "Hello"
    else:
        async with stream:
            assert await anext(stream) == "Hello"
    # Not an error and not a wait for the deadline.
    assert await pieces(stream) == []
    with pytest.raises(InvalidRequestError):
        stream.result


async def test_concurrent_calls_share_one_channel(
    mesh: ScriptedMesh, answer: inference_pb2.InferResponse
) -> None:
    mesh.script("Infer", answer)
    async with AsyncClient(mesh.address) as client:
        results = await asyncio.gather(*(client.infer(f"question {n}") for n in range(20)))
    assert len(results) == len(mesh.received("Infer")) == 20
    assert "authorization" not in mesh.calls[0].metadata


async def test_a_closed_client_says_so(mesh: ScriptedMesh, client: AnyClient) -> None:
    if isinstance(client, Client):
        client.close()
    else:
        await client.aclose()
    with pytest.raises(InvalidRequestError) as failed:
        await now(client.infer("hi"))
    assert failed.value.reason == "CLIENT_CLOSED"
    assert mesh.calls == []


def test_an_asyncio_client_may_be_made_before_there_is_a_loop(
    mesh: ScriptedMesh, answer: inference_pb2.InferResponse
) -> None:
    mesh.script("Infer", answer)
    client = AsyncClient(f"http://{mesh.address}")
    assert client.address == mesh.address

    async def ask() -> str:
        async with client:
            return (await client.infer("hi")).text

    assert asyncio.run(ask()) == "Hello there"
