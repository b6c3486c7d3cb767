"""OpenAI's legacy completions over real gRPC."""

import grpc
import orjson
import pytest
from openai.types import Completion

from infermesh_common.testing.upstream import break_off, chunks, sse

ASKED = {"model": "cheap", "prompt": "Capital of France?"}


async def ask(mesh, **body):
    return await mesh.post(orjson.dumps({**ASKED, **body}), path="completions")


@pytest.mark.parametrize("prompt", ["Capital of France?", ["Capital of France?"]])
async def test_a_completion_is_answered_and_written_down(mesh, prompt):
    reply = await ask(mesh, prompt=prompt, max_tokens=50, temperature=0)
    completion = Completion.model_validate_json(reply.data, strict=True)
    assert completion.choices[0].text == "Paris."
    assert completion.usage is not None and completion.usage.total_tokens == 13
    assert mesh.upstream.requests == [
        {
            "model": "upstream-cheap",
            "messages": [{"role": "user", "content": "Capital of France?"}],
            "max_tokens": 50,
            "temperature": 0,
        }
    ]
    event = await mesh.event()
    assert event.protocol == "openai.completions"


@pytest.mark.parametrize("usage", [True, False])
async def test_a_stream_has_texts_and_the_usage_if_asked(mesh, usage):
    reply = await ask(mesh, stream=True, stream_options={"include_usage": usage})
    events = [Completion.model_construct(**event) for event in reply.events]
    assert {event.object for event in events} == {"text_completion"}
    assert "".join(c.text for event in events for c in event.choices) == "Paris."
    assert events[-2 if usage else -1].choices[0].finish_reason == "stop"
    assert any("usage" in event for event in reply.events) == usage
    assert mesh.upstream.requests[0]["max_tokens"] == 16


async def test_a_stream_that_breaks_ends_with_an_error(mesh):
    async def breaks(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=break_off)

    mesh.upstream.handler = breaks
    body = mesh.body({**ASKED, "stream": True})
    call = mesh.openai.CreateCompletion(body, metadata=mesh.metadata(), timeout=30)
    seen = []
    with pytest.raises(grpc.aio.AioRpcError):
        async for part in call:
            seen.append(part.data)
    assert orjson.loads(seen[-1].removeprefix(b"data: "))["error"]["code"]
    assert b"[DONE]" not in b"".join(seen)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", ["a", "b"]),
        ("prompt", [1, 2]),
        ("prompt", [[1, 2]]),
        ("echo", True),
        ("best_of", 2),
        ("logprobs", 0),
        ("logprobs", 3),
        ("suffix", "x"),
        ("tools", [{"type": "function"}]),
    ],
)
async def test_what_chat_has_not_is_refused_by_name(mesh, openai_body, name, value):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(mesh, **{name: value})
    assert openai_body(caught.value)["param"] == name
    assert not mesh.upstream.requests


async def test_what_asks_for_nothing_is_let_by(mesh):
    await ask(mesh, echo=False, best_of=1, logprobs=None, suffix=None)
    assert set(mesh.upstream.requests[0]) == {"model", "messages", "max_tokens"}
