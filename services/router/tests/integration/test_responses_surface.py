"""The Responses wire over real gRPC, with a provider that speaks OpenAI's chat."""

import grpc
import orjson
import pytest
from aiohttp import web
from openai.types.responses import Response

from infermesh_common.testing.upstream import break_off, chunks, completion, sse

ASKED = {"model": "cheap", "input": "Capital of France?"}


async def ask(mesh, **body):
    return await mesh.post(orjson.dumps({**ASKED, **body}), path="responses")


async def test_a_response_is_answered_and_written_down(mesh):
    reply = await ask(mesh, instructions="Be brief.", max_output_tokens=50, metadata={"a": "b"})
    response = Response.model_validate_json(reply.data, strict=True)
    assert response.output_text == "Paris."
    assert (response.status, response.instructions) == ("completed", "Be brief.")
    assert response.metadata == {"a": "b"}
    assert response.usage is not None and response.usage.total_tokens == 13
    assert mesh.upstream.requests[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Capital of France?"},
    ]
    event = await mesh.event()
    assert (event.protocol, event.decision.usage.output_tokens) == ("openai.responses", 4)


async def test_a_stream_begins_as_created_and_ends_as_completed(mesh):
    reply = await ask(mesh, stream=True)
    assert [event["type"] for event in reply.named_events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    whole = await ask(mesh)
    assert whole.headers["x-infermesh-cache"] == "hit"
    assert reply.named_events[-1]["response"] == whole.body


async def test_an_answer_that_was_cut_is_incomplete(mesh):
    async def cut(request, body):
        return web.json_response(completion(finish_reason="length"))

    mesh.upstream.handler = cut
    reply = await ask(mesh)
    assert reply.body["status"] == reply.body["output"][0]["status"] == "incomplete"
    assert reply.body["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_stream_that_breaks_ends_as_failed(mesh):
    async def breaks(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=break_off)

    mesh.upstream.handler = breaks
    body = mesh.body({**ASKED, "stream": True})
    call = mesh.openai.CreateResponse(body, metadata=mesh.metadata(), timeout=30)
    data = b""
    with pytest.raises(grpc.aio.AioRpcError):
        async for part in call:
            data += part.data
    last = orjson.loads(data.decode().rstrip("\n").split("data: ")[-1])
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["type"] == "provider_stream_broken"
    assert b"response.completed" not in data
    assert not mesh.cache.entries


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("store", True),
        ("background", True),
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("prompt", {"id": "pmpt_1"}),
    ],
)
async def test_state_is_refused_by_name(mesh, reason_of, openai_body, name, value):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(mesh, **{name: value})
    assert reason_of(caught.value) == "UNSUPPORTED_PARAMETER"
    assert openai_body(caught.value)["param"] == name
    assert not mesh.upstream.requests
