"""Chunks to body and back."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_router.domain.chat_stream import (
    ChatStreamAssembler,
    UnmergeableStream,
    replay,
)
from infermesh_router.domain.surfaces.openai import ChatWire

text = st.text(max_size=20)
tool_call = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=8),
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": text, "arguments": text}),
    }
)
message = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.one_of(st.none(), text.filter(bool))},
    optional={
        "refusal": text.filter(bool),
        "reasoning_content": text.filter(bool),
        "tool_calls": st.lists(tool_call, min_size=1, max_size=3),
    },
)
logprobs = st.fixed_dictionaries(
    {"content": st.lists(st.fixed_dictionaries({"token": text}), min_size=1, max_size=3)}
)
choice = st.fixed_dictionaries(
    {"message": message, "finish_reason": st.sampled_from(["stop", "tool_calls"])},
    optional={"logprobs": logprobs},
)


@st.composite
def bodies(draw):
    choices = draw(st.lists(choice, min_size=1, max_size=3))
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": n, **c} for n, c in enumerate(choices)],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def assembled(chunks):
    assembler = ChatStreamAssembler()
    for chunk in chunks:
        assembler.add(orjson.loads(chunk.data))
    return assembler


def written(body, **asked):
    """The events a client of OpenAI's wire gets of a replay."""
    writer = ChatWire().writer({"stream": True, **asked})
    return writer.chunks(list(replay(body))).decode().split("\n\n")[:-1]


def meaning(body):
    """A body without the difference between an absent and an empty content."""
    choices = [
        {**c, "message": {**c["message"], "content": c["message"].get("content") or ""}}
        for c in body["choices"]
    ]
    return {**body, "choices": choices}


@given(bodies())
def test_a_body_survives_its_replay_as_a_stream(body):
    assembler = assembled(replay(body))
    assert assembler.finished
    assert assembler.usage_seen
    assert meaning(assembler.body()) == meaning(body)


@given(bodies())
def test_a_client_that_asks_for_no_usage_gets_none(body):
    events = written(body)
    assert events and all('"usage"' not in event for event in events)


def test_the_usage_chunk_is_the_last():
    body = {"choices": [], "usage": {"prompt_tokens": 1}}
    *_, last = written(body, stream_options={"include_usage": True})
    assert orjson.loads(last.removeprefix("data: "))["usage"] == {"prompt_tokens": 1}


def test_tool_calls_are_merged_by_index():
    assembler = ChatStreamAssembler()
    for delta in (
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f"}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "type": "function", "function": {"arguments": ":1}"}}]},
    ):
        assembler.add({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    calls = assembler.body()["choices"][0]["message"]["tool_calls"]
    assert calls == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g"}},
    ]


def test_an_answer_is_finished_when_every_choice_is():
    assembler = ChatStreamAssembler()
    assert not assembler.finished
    assembler.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    assembler.add({"choices": [{"index": 1, "delta": {"content": "x"}}]})
    assert not assembler.finished
    assembler.add({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]})
    assert assembler.finished


@pytest.mark.parametrize(
    "chunk",
    [{}, {"choices": 1}, {"choices": [1]}, {"choices": [{"index": "0", "delta": {}}]}],
)
def test_what_is_not_a_chunk_is_refused(chunk):
    with pytest.raises(UnmergeableStream):
        ChatStreamAssembler().add(chunk)


def test_chunks_stay_as_they_came():
    def piece(arguments, logprob):
        call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}
        logprobs = {"content": [{"logprob": logprob}]}
        return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "logprobs": logprobs}]}

    assembler, chunks = ChatStreamAssembler(), [piece("{", -1), piece("}", -2)]
    for chunk in chunks:
        assembler.add(chunk)
    assert chunks == [piece("{", -1), piece("}", -2)]
    choice = assembler.body()["choices"][0]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert choice["logprobs"] == {"content": [{"logprob": -1}, {"logprob": -2}]}
