"""Anthropic's wire over real gRPC, with a provider that speaks OpenAI's."""

import grpc
import orjson
import pytest
from aiohttp import web
from anthropic.types import Message

from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import break_off, chunks, completion, failing, hang, sse

ASKED = {
    "model": "cheap",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Capital of France?"}],
}


async def ask(mesh, *, headers=None, **body):
    return await mesh.post(orjson.dumps({**ASKED, **body}), path="messages", headers=headers)


def error_of(error: grpc.aio.AioRpcError) -> dict[str, object]:
    """The body of an error, which must have Anthropic's shape."""
    trailers = dict(error.trailing_metadata() or ())
    body = orjson.loads(trailers["x-infermesh-error"])
    assert set(body) == {"type", "error", "request_id"} and body["type"] == "error"
    assert body["request_id"] == trailers["x-request-id"]
    return {**body["error"], "status": trailers.get("x-infermesh-status")}


async def test_a_message_is_answered_and_written_down(mesh):
    reply = await ask(mesh, system="Be brief.", stop_sequences=["END"], metadata={"user_id": "u"})
    message = Message.model_validate_json(reply.data, strict=True)
    assert message.content[0].text == "Paris."
    assert (message.stop_reason, message.model) == ("end_turn", "upstream-model")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 4)
    assert mesh.upstream.requests == [
        {
            "model": "upstream-cheap",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Capital of France?"},
            ],
            "max_tokens": 50,
            "stop": ["END"],
            "user": "u",
        }
    ]
    assert reply.headers["x-infermesh-cost-usd"] == "0.000013"
    event = await mesh.event()
    assert event.protocol == "anthropic.messages"
    assert (event.decision.usage.input_tokens, event.decision.usage.output_tokens) == (9, 4)


async def test_the_key_of_the_mesh_is_taken_from_x_api_key_and_stays_here(mesh, capfd):
    call = mesh.anthropic.CreateMessage(
        mesh.body(ASKED), metadata=(("x-api-key", mesh.api_key),), timeout=30
    )
    assert [part async for part in call]
    assert mesh.api_key not in str(mesh.upstream.headers)
    assert "x-api-key" not in mesh.upstream.headers[0]
    logged = []

    def written() -> bool:
        logged.extend(capfd.readouterr())
        return "AnthropicService/CreateMessage" in "".join(logged)

    await eventually(written, what="the line of the request")
    assert mesh.api_key.rpartition("_")[2] not in "".join(logged)


async def test_a_wrong_key_is_refused_in_anthropics_shape(mesh):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.post(orjson.dumps(ASKED), path="messages", api_key="im_0_wrong")
    error = error_of(caught.value)
    assert error["type"] == "authentication_error"
    assert error["details"] == {"error_code": "invalid_api_key"}


@pytest.mark.parametrize("first_streams", [True, False])
async def test_an_answer_to_one_surface_is_a_hit_for_another(mesh, first_streams):
    chat = await mesh.chat(max_tokens=50, stream=first_streams)
    assert chat.headers["x-infermesh-cache"] == "miss"
    whole, streamed = await ask(mesh), await ask(mesh, stream=True)
    assert whole.headers["x-infermesh-cache"] == streamed.headers["x-infermesh-cache"] == "hit"
    assert whole.body["content"] == [{"type": "text", "text": "Paris."}]
    deltas = [e["delta"] for e in streamed.named_events if e["type"] == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas) == "Paris."
    assert len(mesh.upstream.requests) == 1


async def test_a_stream_has_anthropics_events_and_the_whole_usage(mesh):
    reply = await ask(mesh, stream=True)
    types = [event["type"] for event in reply.named_events]
    assert types == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    end = reply.named_events[-2]
    assert end["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (9, 4)


async def test_tools_go_there_and_their_calls_come_back(mesh):
    call = {"id": "call_1", "type": "function"}
    call["function"] = {"name": "weather", "arguments": '{"city":"Paris"}'}

    async def calls(request, body):
        answer = completion(finish_reason="tool_calls")
        answer["choices"][0]["message"] = {
            "role": "assistant",
            "content": None,
            "tool_calls": [call],
        }
        return web.json_response(answer)

    mesh.upstream.handler = calls
    tool = {"name": "weather", "input_schema": {"type": "object"}}
    reply = await ask(mesh, tools=[tool], tool_choice={"type": "any"})
    use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}}
    assert (reply.body["content"], reply.body["stop_reason"]) == ([use], "tool_use")
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "rain"}
    turns = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    await ask(mesh, messages=[*ASKED["messages"], *turns], tools=[tool])
    first, second = mesh.upstream.requests
    assert first["tools"] == [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    ]
    assert first["tool_choice"] == "required"
    assert second["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]


@pytest.mark.parametrize("then", [break_off, hang])
async def test_a_stream_that_fails_ends_with_an_error_event(mesh, then):
    async def breaks(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=then)

    mesh.upstream.handler = breaks
    body = orjson.dumps({**ASKED, "stream": True})
    call = mesh.anthropic.CreateMessage(mesh.body(body), metadata=mesh.metadata(), timeout=30)
    data = b""
    with pytest.raises(grpc.aio.AioRpcError):
        async for part in call:
            data += part.data
    last = data.decode().rstrip("\n").split("\n\n")[-1]
    assert last.startswith("event: error\ndata: ")
    assert orjson.loads(last.split("data: ", 1)[1])["type"] == "error"
    assert b"message_stop" not in data
    assert not mesh.cache.entries


@pytest.mark.parametrize(
    ("status", "kind", "exact"),
    [
        (400, "invalid_request_error", None),
        (404, "not_found_error", None),
        (429, "rate_limit_error", None),
        (500, "api_error", None),
        (529, "overloaded_error", "529"),
    ],
)
async def test_a_providers_refusal_has_anthropics_type(mesh, status, kind, exact):
    mesh.upstream.handler = failing(status, {"message": "no", "code": "c"})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(mesh)
    error = error_of(caught.value)
    assert (error["type"], error["status"]) == (kind, exact)


async def test_a_large_body_is_refused_in_anthropics_shape(mesh):
    async def pieces():
        yield mesh.body(b"x" * 1000)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.anthropic.RefuseLargeMessage(pieces(), metadata=mesh.metadata())
    error = error_of(caught.value)
    assert (error["type"], error["status"]) == ("request_too_large", "413")
