"""The official OpenAI SDK's other surfaces, responses and completions, against the whole mesh."""

from __future__ import annotations

import openai
import pytest
from pydantic import BaseModel

from infermesh_common.testing.upstream import break_off, chunks, sse


class City(BaseModel):
    """What a model is asked for."""

    name: str


def test_the_embedded_model_answers_for_real(mesh, unique):
    client = mesh.openai()
    response = client.responses.create(
        model="smollm2-135m", input=f"Say hello to {unique}", temperature=0, max_output_tokens=16
    )
    assert response.output_text.strip()
    assert response.usage.output_tokens > 0
    completion = client.completions.create(model="smollm2-135m", prompt=unique, max_tokens=8)
    assert completion.choices[0].text.strip()


def test_a_response_streams_and_a_repeated_one_is_a_hit(mesh, upstream, unique):
    client = mesh.openai()
    with client.responses.stream(model="scripted", input=unique) as stream:
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == "Paris."
    raw = client.responses.with_raw_response.create(model="scripted", input=unique)
    assert raw.headers["x-infermesh-cache"] == "hit"
    assert raw.parse().output_text == "Paris."
    assert len(upstream.requests) == 1


def test_a_response_has_the_form_it_was_asked_for(mesh, upstream, unique):
    async def in_form(request, body):
        texts = ['{"name":', '"Paris"}']
        return await upstream.stream(request, [*map(sse, chunks(texts)), b"data: [DONE]\n\n"])

    upstream.handler = in_form
    with mesh.openai().responses.stream(
        model="scripted", input=unique, text_format=City, instructions="Be brief."
    ) as stream:
        final = stream.get_final_response()
    assert final.output_parsed == City(name="Paris")
    asked = upstream.requests[0]
    assert asked["response_format"]["json_schema"]["name"] == "City"
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_call_of_a_function_goes_out_and_its_output_comes_in(mesh, upstream, unique):
    async def calls(request, body):
        function = {"name": "weather", "arguments": '{"city":"Paris"}'}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        head = {**chunks()[0], "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
        tail = map(sse, chunks(finish_reason="tool_calls")[-2:])
        return await upstream.stream(request, [sse(head), *tail, b"data: [DONE]\n\n"])

    upstream.handler = calls
    client = mesh.openai()
    tool = {"type": "function", "name": "weather", "parameters": {}, "strict": False}
    with client.responses.stream(model="scripted", input=unique, tools=[tool]) as stream:
        final = stream.get_final_response()
    (call,) = final.output
    assert (call.name, call.arguments) == ("weather", '{"city":"Paris"}')
    upstream.handler = None
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    conversation = [{"role": "user", "content": unique}, *final.output, output]
    answer = client.responses.create(model="scripted", input=conversation, tools=[tool])
    assert answer.output_text == "Paris."
    assert upstream.requests[-1]["messages"][-1] == {
        "role": "tool",
        "tool_call_id": call.call_id,
        "content": "rain",
    }


def test_state_is_refused_and_nothing_is_there_to_be_read(mesh, unique):
    client = mesh.openai()
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="scripted", input=unique, previous_response_id="resp_1")
    assert caught.value.code == "unsupported_parameter"
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")


def test_a_response_that_breaks_fails_and_is_not_cached(mesh, upstream, unique):
    async def breaks(request, body):
        return await upstream.stream(request, [sse(chunks()[1])], then=break_off)

    upstream.handler = breaks
    client = mesh.openai()
    events = list(client.responses.create(model="scripted", input=unique, stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    upstream.handler = None
    assert client.responses.create(model="scripted", input=unique).output_text == "Paris."


def test_completions_stream_and_break_like_chat(mesh, upstream, unique):
    client = mesh.openai()
    stream = client.completions.create(model="scripted", prompt=unique, stream=True)
    assert "".join(part.choices[0].text for part in stream if part.choices) == "Paris."

    async def breaks(request, body):
        return await upstream.stream(request, [sse(chunks()[1])], then=break_off)

    upstream.handler = breaks
    with pytest.raises(openai.APIError) as caught:
        list(client.completions.create(model="scripted", prompt=unique + "?", stream=True))
    assert caught.value.code == "provider_stream_broken"
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="scripted", prompt=["a", "b"])
    assert refused.value.param == "prompt"
