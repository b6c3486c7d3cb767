"""The official Anthropic SDK against the whole mesh, whose models here speak OpenAI's wire."""

from __future__ import annotations

import base64
import time

import anthropic
import pytest
from aiohttp import web

from infermesh_common.testing.upstream import break_off, chunks, completion, failing, sse

WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def client(mesh, **more) -> anthropic.Anthropic:
    credentials = {"api_key": mesh.key(), "auth_token": None, **more}
    return anthropic.Anthropic(base_url=mesh.url, max_retries=0, timeout=60, **credentials)


def ask(sdk, question, **more):
    asked = {"model": "scripted", "max_tokens": 64, **more}
    return sdk.messages.create(messages=[{"role": "user", "content": question}], **asked)


def test_the_embedded_model_answers_for_real(mesh, unique):
    sdk = client(mesh)
    message = ask(
        sdk, f"Say hello to {unique}", model="smollm2-135m", extra_body={"temperature": 0}
    )
    assert message.content[0].text.strip()
    assert message.usage.output_tokens > 0 and message.usage.input_tokens > 0
    with sdk.messages.stream(
        model="smollm2-135m",
        max_tokens=16,
        system="Be brief.",
        messages=[{"role": "user", "content": unique}],
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text and text.strip()
    assert final.usage.output_tokens > 0


def test_either_header_holds_the_key_and_neither_goes_to_the_provider(mesh, upstream, unique):
    for credentials in ({}, {"api_key": None, "auth_token": mesh.key()}):
        ask(client(mesh, **credentials), unique, extra_headers={"x-infermesh-cache": "bypass"})
    assert len(upstream.requests) == 2
    assert mesh.key() not in str(upstream.headers) + str(upstream.requests)
    deadline = time.monotonic() + 20
    while "CreateMessage" not in (logs := mesh.logs()):
        assert time.monotonic() < deadline, "the router has not logged the request"
    assert mesh.key() not in logs


def test_headers_and_ids_are_those_of_chat_and_of_the_sdk(mesh, upstream, unique):
    raw = client(mesh).messages.with_raw_response.create(
        model="scripted", max_tokens=9, messages=[{"role": "user", "content": unique}]
    )
    assert raw.headers["x-infermesh-cache"] == "miss"
    assert raw.headers["request-id"] == raw.headers["x-request-id"] == raw.parse()._request_id
    assert raw.headers["x-infermesh-decision-id"]


def test_tools_stream_there_and_back(mesh, upstream, unique):
    async def calls(request, body):
        def delta(call):
            head = {**chunks()[0], "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
            return sse(head)

        first = {"index": 0, "id": "call_1", "type": "function"}
        pieces = [
            sse(chunks()[1]),
            delta({**first, "function": {"name": "weather", "arguments": ""}}),
            delta({"index": 0, "function": {"arguments": '{"city":'}}),
            delta({"index": 0, "function": {"arguments": '"Paris"}'}}),
            sse(chunks(finish_reason="tool_calls")[-2]),
            sse(chunks()[-1]),
            b"data: [DONE]\n\n",
        ]
        return await upstream.stream(request, pieces)

    upstream.handler = calls
    sdk = client(mesh)
    question = {"role": "user", "content": unique}
    with sdk.messages.stream(
        model="scripted", max_tokens=64, tools=[WEATHER], messages=[question]
    ) as stream:
        message = stream.get_final_message()
    text, use = message.content
    assert (text.text, use.name, use.input) == ("Par", "weather", {"city": "Paris"})
    assert message.stop_reason == "tool_use"
    upstream.handler = None
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "rain"}
    turns = [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    answer = sdk.messages.create(
        model="scripted", max_tokens=64, tools=[WEATHER], messages=[question, *turns]
    )
    assert answer.content[0].text == "Paris."
    told = upstream.requests[-1]["messages"]
    assert told[1]["tool_calls"][0]["function"]["name"] == "weather"
    assert told[2] == {"role": "tool", "tool_call_id": use.id, "content": "rain"}


def test_thinking_and_images_pass(mesh, upstream, unique):
    async def thinks(request, body):
        answer = completion()
        answer["choices"][0]["message"]["reasoning_content"] = "Let me see."
        answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": 3}
        return web.json_response(answer)

    upstream.handler = thinks
    data = base64.b64encode(b"not really an image").decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content = [{"type": "text", "text": unique}, {"type": "image", "source": source}]
    message = client(mesh).messages.create(
        model="scripted",
        max_tokens=2000,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": content}],
    )
    thought, text = message.content
    assert (thought.type, thought.thinking, text.text) == ("thinking", "Let me see.", "Paris.")
    assert message.usage.output_tokens_details.thinking_tokens == 3
    image = upstream.requests[0]["messages"][0]["content"][1]
    assert image == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


@pytest.mark.parametrize(
    ("handler", "exception", "code"),
    [
        (failing(400, {"message": "no"}), anthropic.BadRequestError, "provider_rejected_request"),
        (failing(500, {"message": "oops"}), anthropic.ServiceUnavailableError, "provider_failed"),
        (failing(529, {"message": "full"}), anthropic.OverloadedError, "provider_failed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_failure_raises_the_sdks_own_exception(
    mesh, upstream, unique, handler, exception, code, stream
):
    upstream.handler = handler
    with pytest.raises(exception) as caught:
        ask(client(mesh), unique, stream=stream)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["details"] == {"error_code": code}
    assert caught.value.body["request_id"] == caught.value.response.headers["request-id"]


def test_a_providers_rate_limit_is_one_and_passes(mesh, upstream, unique):
    upstream.handler = failing(429, {"message": "slow"}, retry_after="1")
    sdk = client(mesh)
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(sdk, unique, model="limited-messages")
    assert caught.value.response.headers["retry-after"] == "1"
    upstream.handler = None
    # The key rests meanwhile: the SDK's own retries wait for it.
    patient = sdk.with_options(max_retries=5)
    assert ask(patient, unique, model="limited-messages").content[0].text == "Paris."


def test_a_stream_that_breaks_raises_and_is_not_cached(mesh, upstream, unique):
    async def breaks(request, body):
        return await upstream.stream(request, [sse(chunks()[1])], then=break_off)

    upstream.handler = breaks
    sdk = client(mesh)
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(ask(sdk, unique, stream=True))
    assert caught.value.body["error"]["details"] == {"error_code": "provider_stream_broken"}
    upstream.handler = None
    assert ask(sdk, unique).content[0].text == "Paris."


def test_wrong_keys_models_and_fields_raise_the_sdks_own_exceptions(mesh, unique):
    with pytest.raises(anthropic.AuthenticationError):
        ask(client(mesh, api_key="im_0123456789abcdef_" + "x" * 43), unique)
    sdk = client(mesh)
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(sdk, unique, model="gpt-99")
    assert "gpt-99" in str(caught.value)
    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(sdk, unique, tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert "tools[0].type" in str(refused.value)
    with pytest.raises(anthropic.NotFoundError):
        sdk.messages.count_tokens(model="scripted", messages=[{"role": "user", "content": "x"}])


def test_a_body_of_50_mb_is_told_to_be_too_large(mesh):
    with pytest.raises(anthropic.ContentTooLargeError) as caught:
        ask(client(mesh), "x" * 50_000_000)
    assert caught.value.body["error"]["type"] == "request_too_large"


def test_an_answer_to_the_openai_sdk_is_a_hit_for_this_one(mesh, upstream, unique):
    mesh.openai().chat.completions.create(
        model="scripted", max_tokens=64, messages=[{"role": "user", "content": unique}]
    )
    assert ask(client(mesh), unique).content[0].text == "Paris."
    assert len(upstream.requests) == 1
