"""What clients of the OpenAI wire are told of their own faults and those of providers."""

import asyncio

import grpc
import orjson
import pytest
from google.api import httpbody_pb2

from infermesh.analytics.v1 import events_pb2
from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import break_off, chunks, failing, hang, sse


async def test_a_stream_that_breaks_upstream_is_an_error_and_is_not_cached(mesh, reason_of):
    async def breaks(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=break_off)

    mesh.upstream.handler = breaks
    stub = mesh.openai
    body = {"model": "cheap", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    call = stub.CreateChatCompletion(
        httpbody_pb2.HttpBody(data=orjson.dumps(body)), metadata=mesh.metadata()
    )
    seen = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for part in call:
            seen.append(part.data)
    assert reason_of(caught.value) == "PROVIDER_STREAM_BROKEN"
    assert orjson.loads(seen[-1].removeprefix(b"data: "))["error"]["code"] == (
        "provider_stream_broken"
    )
    assert b"[DONE]" not in b"".join(seen)
    assert not mesh.cache.entries
    event = await mesh.event()
    assert event.outcome == events_pb2.OUTCOME_FAILED
    assert not event.decision.HasField("cost")


@pytest.mark.parametrize(
    "pieces",
    [
        [sse({"choices": []})],
        [sse(chunks()[1]), b"data: [DONE]\n\n"],
        [b"data: not json\n\n"],
        [sse([1])],
        [sse({"error": {"message": "overloaded"}})],
        [sse({"choices": [{"index": 0, "delta": 3}]})],
    ],
)
async def test_an_unfinished_or_garbled_stream_is_never_cached(mesh, pieces):
    async def garbled(request, body):
        return await mesh.upstream.stream(request, pieces)

    mesh.upstream.handler = garbled
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(stream=True)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not mesh.cache.entries


async def test_a_client_that_leaves_cancels_the_upstream_call(mesh):
    async def endless(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=hang)

    mesh.upstream.handler = endless
    body = {"model": "cheap", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    call = mesh.openai.CreateChatCompletion(
        httpbody_pb2.HttpBody(data=orjson.dumps(body)), metadata=mesh.metadata()
    )
    await call.read()
    call.cancel()
    await asyncio.wait_for(mesh.upstream.disconnected.wait(), 20)
    event = await mesh.event()
    assert event.outcome == events_pb2.OUTCOME_CANCELLED
    assert not event.decision.HasField("cost")
    await eventually(lambda: not mesh.cache.flights)


BAD_BODIES = {
    "malformed": (b'{"model": ', "INVALID_JSON"),
    "empty": (b"", "INVALID_JSON"),
    "nan": (
        b'{"model":"cheap","messages":[{"role":"user","content":"x"}],"top_p":NaN}',
        "INVALID_JSON",
    ),
    "utf8": (b'{"model":"cheap","messages":[{"role":"user","content":"\xff"}]}', "INVALID_JSON"),
    "surrogate": (b'{"model":"\\ud800","messages":[]}', "INVALID_JSON"),
    "deep": (b'{"model":"cheap","messages":' + b"[" * 5000 + b"]" * 5000 + b"}", "INVALID_JSON"),
    "deep but parsed": (
        b'{"model":"cheap","messages":[{"role":"user","content":"x"}],"x":'
        + b"[" * 800
        + b"]" * 800
        + b"}",
        "REQUEST_NOT_CANONICAL",
    ),
    "list": (b"[]", "INVALID_JSON"),
    "no model": (b'{"messages":[{"role":"user","content":"x"}]}', "MODEL_MISSING"),
    "no messages": (b'{"model":"cheap"}', "INVALID_MESSAGES"),
    "odd message": (b'{"model":"cheap","messages":[1]}', "INVALID_MESSAGES"),
    "hot": (b'{"model":"cheap","messages":[{"role":"user"}],"temperature":9}', "INVALID_NUMBER"),
    "true": (b'{"model":"cheap","messages":[{"role":"user"}],"top_p":true}', "INVALID_NUMBER"),
    "stream": (b'{"model":"cheap","messages":[{"role":"user"}],"stream":"yes"}', "INVALID_STREAM"),
    "options": (
        b'{"model":"cheap","messages":[{"role":"user"}],"stream_options":1}',
        "INVALID_STREAM_OPTIONS",
    ),
    "unknown model": (b'{"model":"gpt-99","messages":[{"role":"user"}]}', "MODEL_NOT_FOUND"),
}


@pytest.mark.parametrize("case", BAD_BODIES)
async def test_a_bad_body_is_a_clear_error_in_openais_shape(mesh, reason_of, openai_body, case):
    data, expected = BAD_BODIES[case]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.post(data)
    assert reason_of(caught.value) == expected
    body = openai_body(caught.value)
    assert (body["type"], body["code"]) == ("invalid_request_error", expected.lower())
    assert not mesh.upstream.requests


@pytest.mark.parametrize(
    "headers",
    [
        {"x-infermesh-cache": "sometimes"},
        {"x-infermesh-cache": "bypass, only-if-cached"},
        {"x-infermesh-tags": "x" * 101},
        {"x-infermesh-task": "x" * 65},
    ],
)
async def test_a_bad_control_header_is_a_clear_error(mesh, headers):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(headers=headers)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, grpc.StatusCode.INVALID_ARGUMENT, "PROVIDER_REJECTED_REQUEST"),
        (401, grpc.StatusCode.UNAVAILABLE, "PROVIDER_REFUSED_CREDENTIALS"),
        (404, grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND"),
        (429, grpc.StatusCode.RESOURCE_EXHAUSTED, "PROVIDER_RATE_LIMITED"),
        (500, grpc.StatusCode.UNAVAILABLE, "PROVIDER_FAILED"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_providers_refusal_says_whose_fault_it_is(
    mesh, reason_of, openai_body, status, code, reason, stream
):
    error = {"message": "Ungültig: é", "type": "t", "code": "context_length_exceeded", "param": "p"}
    mesh.upstream.handler = failing(status, error, retry_after="7")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(stream=stream)
    assert (caught.value.code(), reason_of(caught.value)) == (code, reason)
    body = openai_body(caught.value)
    if status == 400:
        assert body == {**error, "message": "Ungültig: é"}
    if status == 429:
        assert dict(caught.value.trailing_metadata())["retry-after"] == "7"
    assert not mesh.cache.entries


async def test_no_time_out_of_a_provider_is_exceeded(mesh, reason_of):
    mesh.upstream.handler = hang
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(stream=True)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    async def stops_talking(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=hang)

    mesh.upstream.handler = stops_talking
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(stream=True)
    assert reason_of(caught.value) == "PROVIDER_TIMEOUT"
