"""Answers of providers on the wires with blocks and items, where the form matters."""

import orjson
import pytest

from infermesh_common.errors import Unavailable
from infermesh_router.domain.answer import Answer
from infermesh_router.domain.surfaces.anthropic.stream import MessageWriter
from infermesh_router.domain.surfaces.completions import CompletionWriter
from infermesh_router.domain.surfaces.responses.stream import ResponseWriter


def chat(message, finish_reason="stop", **choice):
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason, **choice}]
    return Answer(value={"id": "chatcmpl-1", "model": "up", "choices": choices})


def message(said, finish_reason="stop", **choice):
    return orjson.loads(MessageWriter("m").whole(chat(said, finish_reason, **choice)))


def response(said, finish_reason="stop", **asked):
    return orjson.loads(ResponseWriter(asked, "m").whole(chat(said, finish_reason)))


def calling(arguments, **more):
    function = {"name": "f", "arguments": arguments}
    return {"content": None, "tool_calls": [{"type": "function", "function": function, **more}]}


@pytest.mark.parametrize(
    ("said", "finish", "choice", "stop"),
    [
        ({"content": "x"}, "stop", {}, ("end_turn", None)),
        ({"content": "x"}, "stop", {"stop_sequence": "END"}, ("stop_sequence", "END")),
        ({"content": "x"}, "length", {}, ("max_tokens", None)),
        ({"content": "x"}, "content_filter", {}, ("refusal", None)),
        ({"refusal": "no"}, "stop", {}, ("refusal", None)),
        (calling("{}", id="c"), "tool_calls", {}, ("tool_use", None)),
        (calling("{}", id="c"), "stop", {}, ("tool_use", None)),
        ({"content": "x"}, "something new", {}, ("end_turn", None)),
    ],
)
def test_why_a_message_stops(said, finish, choice, stop):
    told = message(said, finish, **choice)
    assert (told["stop_reason"], told["stop_sequence"]) == stop


@pytest.mark.parametrize("arguments", ["", "{}", {}, None])
def test_a_call_without_arguments_or_id_is_still_one(arguments):
    (block,) = message(calling(arguments))["content"]
    assert (block["input"], block["name"]) == ({}, "f")
    assert block["id"]
    (item,) = response(calling(arguments))["output"]
    assert item["call_id"] and item["type"] == "function_call"


def test_a_call_that_was_cut_off_is_none():
    assert message(calling('{"a": "unfin', id="c"), "length")["content"] == []


@pytest.mark.parametrize(
    "said",
    [
        calling("not json"),
        calling("[1]"),
        calling("[" * 2000 + "]" * 2000),
        calling('{"a":' + "[" * 400 + "]" * 400 + "}"),
        {"content": 3},
        {"tool_calls": {}},
        {"tool_calls": [3]},
        {"tool_calls": [{"function": {"name": "f", "arguments": 3}}]},
        {"tool_calls": [{"function": {"arguments": "{}"}}]},
        3,
    ],
)
def test_what_is_no_answer_is_broken(said):
    with pytest.raises(Unavailable) as caught:
        MessageWriter("m").whole(chat(said))
    assert caught.value.reason == "PROVIDER_STREAM_BROKEN"


@pytest.mark.parametrize("value", [{}, {"choices": []}, {"choices": [1]}, {"choices": 1}])
@pytest.mark.parametrize(
    "writer", [MessageWriter("m"), ResponseWriter({}, "m"), CompletionWriter(include_usage=False)]
)
def test_an_answer_without_choices_is_broken_or_empty(writer, value):
    try:
        body = orjson.loads(writer.whole(Answer(value=value)))
    except Unavailable as error:
        assert error.reason == "PROVIDER_STREAM_BROKEN"
    else:
        assert body["choices"] == []


def test_reasoning_is_an_item_and_its_seal_only_if_asked():
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    said = {"content": "so", "reasoning_content": "hm", "thinking_blocks": [thought]}
    reasoning, text = response(said)["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert "encrypted_content" not in reasoning
    assert text["content"][0]["text"] == "so"
    asked = response(said, include=["reasoning.encrypted_content"])["output"][0]
    assert asked["encrypted_content"].startswith("infermesh-1:")


def test_a_refusal_and_what_was_asked_are_in_a_response():
    told = response({"refusal": "no"}, temperature=0.5, tools=[])
    assert told["output"][0]["content"] == [{"type": "refusal", "refusal": "no"}]
    assert (told["temperature"], told["store"], told["usage"]) == (0.5, False, None)


def test_content_in_parts_is_one_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert message({"content": parts})["content"] == [{"type": "text", "text": "ab"}]
