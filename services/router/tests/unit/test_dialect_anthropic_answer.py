"""Answers in Anthropic's form, beyond what every dialect promises."""

import orjson
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from infermesh_common.errors import Unavailable
from infermesh_common.resources.resource_set import parse
from infermesh_common.testing.resources import model
from infermesh_router.adapters.outbound.providers.anthropic import AnthropicDialect
from infermesh_router.domain.chat_stream import ChatStreamAssembler
from infermesh_router.domain.request import Surface
from infermesh_router.testing.wire_sample import Said, ToolUse
from infermesh_router.testing.wires.anthropic import AnthropicWire

DIALECT = AnthropicDialect()
WIRE = AnthropicWire()
MODEL = parse(model("m"), "test")


def answered(**fields):
    value = {**orjson.loads(WIRE.whole(Said(("Yes.",)))), **fields}
    Message.model_validate(value)
    answer = orjson.loads(DIALECT.answer(Surface.CHAT, {}, orjson.dumps(value)).data)
    return answer["choices"][0]


def assembled(frames):
    stream = DIALECT.stream({}, 100_000)
    assembler = ChatStreamAssembler()
    for chunk in stream.feed(b"".join(frames)):
        assembler.add(chunk.value)
    return assembler.body()


def test_a_stop_sequence_that_matched_is_told():
    choice = answered(stop_reason="stop_sequence", stop_sequence="END")
    assert (choice["finish_reason"], choice["stop_sequence"]) == ("stop", "END")
    assert "stop_sequence" not in answered(stop_reason="end_turn", stop_sequence=None)
    frames = [
        frame.replace(
            b'"end_turn", "stop_sequence": null', b'"stop_sequence", "stop_sequence": "END"'
        )
        for frame in WIRE.streamed(Said(("Yes.",)))
    ]
    choice = assembled(frames)["choices"][0]
    assert (choice["finish_reason"], choice["stop_sequence"]) == ("stop", "END")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("pause_turn", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("end_turn", "stop"),
    ],
)
def test_reasons_to_end_are_openais(theirs, ours):
    assert answered(stop_reason=theirs)["finish_reason"] == ours


def test_a_reason_of_a_later_version_is_passed_on():
    value = {**orjson.loads(WIRE.whole(Said(("Yes.",)))), "stop_reason": "a_new_reason"}
    answer = DIALECT.answer(Surface.CHAT, {}, orjson.dumps(value))
    assert answer.value["choices"][0]["finish_reason"] == "a_new_reason"


@pytest.mark.parametrize("change", [{"stop_reason": None}, {"content": "Yes."}, {"type": "other"}])
def test_a_message_that_is_none_is_a_broken_answer(change):
    value = {**orjson.loads(WIRE.whole(Said(("Yes.",)))), **change}
    with pytest.raises(Unavailable) as caught:
        DIALECT.answer(Surface.CHAT, {}, orjson.dumps(value))
    assert caught.value.reason == "PROVIDER_STREAM_BROKEN"


def test_signed_thoughts_survive_whole_and_streamed():
    said = Said(("Yes.",), reasoning=("H", "m"))
    whole = DIALECT.answer(Surface.CHAT, {}, WIRE.whole(said)).value["choices"][0]["message"]
    streamed = assembled(WIRE.streamed(said))["choices"][0]["message"]
    assert whole["thinking_blocks"] == streamed["thinking_blocks"]
    assert whole["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
    ]
    asked = {"messages": [{"role": "user", "content": "Hi"}, streamed]}
    again = orjson.loads(DIALECT.call(MODEL, Surface.CHAT, asked, stream=False).body)
    said_again = [*whole["thinking_blocks"], {"type": "text", "text": "Yes."}]
    assert again["messages"][1]["content"] == said_again


def event(kind, **fields):
    return b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def test_thoughts_that_are_kept_back_keep_their_signature():
    frames = list(WIRE.streamed(Said(("Yes.",))))
    block = {"type": "thinking", "thinking": "", "signature": ""}
    delta = {"type": "signature_delta", "signature": "s"}
    kept_back = [
        event("content_block_start", index=7, content_block=block),
        event("content_block_delta", index=7, delta=delta),
        event("content_block_stop", index=7),
    ]
    message = assembled(frames[:1] + kept_back + frames[1:])["choices"][0]["message"]
    assert message["thinking_blocks"] == [{"type": "thinking", "thinking": "", "signature": "s"}]
    assert "reasoning_content" not in message


def test_blocks_of_unknown_kinds_are_passed_over():
    frames = list(WIRE.streamed(Said(("Yes.",))))
    strange = [
        event("content_block_start", index=7, content_block={"type": "new", "x": 1}),
        event("content_block_delta", index=7, delta={"type": "new_delta", "x": "y"}),
        event("content_block_delta", index=7, delta={"type": "input_json_delta"}),
        event("content_block_stop", index=7),
    ]
    body = assembled(frames[:1] + strange + frames[1:])
    assert body["choices"] == assembled(frames)["choices"]
    value = orjson.loads(WIRE.whole(Said(("Yes.",))))
    value["content"].insert(0, {"type": "new", "x": 1})
    answer = DIALECT.answer(Surface.CHAT, {}, orjson.dumps(value))
    assert answer.value["choices"][0]["message"]["content"] == "Yes."


def test_arguments_that_come_with_the_start_of_a_call_are_kept():
    frames = list(WIRE.streamed(Said(("Yes.",), finish="tool_calls")))
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    call = [
        event("content_block_start", index=7, content_block=block),
        event("content_block_stop", index=7),
    ]
    message = assembled(frames[:-2] + call + frames[-2:])["choices"][0]["message"]
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}


def test_counts_that_come_later_replace_those_before():
    body = assembled(WIRE.streamed(Said(("Yes.",))))
    assert body["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize(
    "said",
    [
        Said(("Yes.", " No.")),
        Said(reasoning=("Hm",)),
        Said(("a",), tool_calls=(ToolUse("t", "f", {"a": 1}),), finish="tool_calls"),
        Said(finish="content_filter"),
    ],
)
def test_the_sample_speaks_as_the_official_sdk_hears(said):
    Message.model_validate_json(WIRE.whole(said))
    adapter = TypeAdapter(RawMessageStreamEvent)
    for frame in WIRE.streamed(said):
        value = orjson.loads(frame.partition(b"data: ")[2])
        if value["type"] != "ping":
            adapter.validate_python(value)
