"""Requests of the Responses wire: what each part becomes in chat, and what is refused by name."""

import pytest

from infermesh_common.errors import InvalidArgument
from infermesh_router.domain.surfaces.chat_answer import Thinking
from infermesh_router.domain.surfaces.responses.reasoning import sealed
from infermesh_router.domain.surfaces.responses.wire import ResponsesWire

WIRE = ResponsesWire()
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "rain"}
CHAT_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def read(**more):
    return WIRE.read({"model": "m", "input": "hi", **more}).body


def messages(*items):
    return read(input=list(items))["messages"]


def test_the_least_request_is_one_message():
    assert read() == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_roles_and_parts_become_chats():
    parts = [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "https://x/a.png", "detail": "low"},
        {"type": "input_file", "filename": "f.pdf", "file_data": "data:x"},
    ]
    assert messages({"role": "developer", "content": "d"}, {"role": "user", "content": parts}) == [
        {"role": "system", "content": "d"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
                {"type": "file", "file": {"filename": "f.pdf", "file_data": "data:x"}},
            ],
        },
    ]


def test_a_turn_of_the_assistant_is_one_message():
    seal = sealed(Thinking("hm", "by me"))
    text = [{"type": "output_text", "text": "so"}]
    assert messages(
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": seal},
        {"type": "message", "role": "assistant", "content": text},
        CALL,
        {**CALL, "call_id": "d"},
        OUTPUT,
        {**OUTPUT, "call_id": "d", "output": [{"type": "input_text", "text": "sun"}]},
        {"role": "assistant", "content": "Rain."},
    ) == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "so",
            "reasoning_content": "hm",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "by me"}],
            "tool_calls": [CHAT_CALL, {**CHAT_CALL, "id": "d"}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
        {"role": "tool", "tool_call_id": "d", "content": "sun"},
        {"role": "assistant", "content": "Rain."},
    ]


def test_calls_alone_are_a_message_without_content():
    assert messages(CALL, OUTPUT)[0] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [CHAT_CALL],
    }


def test_two_answers_in_a_row_stay_two():
    said = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert messages(*said) == said


@pytest.mark.parametrize("seal", ["of-another-house", "infermesh-1:%%%", "infermesh-1:e30=", None])
def test_reasoning_that_cannot_be_opened_is_its_text(seal):
    summary = [{"type": "summary_text", "text": "hm"}]
    item = {"type": "reasoning", "id": "r", "summary": summary, "encrypted_content": seal}
    (message,) = messages(item, {"role": "assistant", "content": "so"})
    assert message == {"role": "assistant", "content": "so", "reasoning_content": "hm"}


def test_parameters_have_their_names_of_chat():
    schema = {"type": "json_schema", "name": "x", "schema": {}, "strict": True}
    chat = read(
        max_output_tokens=9,
        temperature=2,
        tools=[{"type": "function", "name": "f", "parameters": {}, "strict": False}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": schema, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        user="u",
        service_tier="flex",
        truncation="auto",
        include=["file_search_call.results"],
    )
    function = {"name": "f", "parameters": {}, "strict": False}
    del chat["messages"]
    assert chat == {
        "model": "m",
        "max_tokens": 9,
        "temperature": 2,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {}, "strict": True},
        },
        "verbosity": "low",
        "reasoning_effort": "low",
        "user": "u",
        "service_tier": "flex",
    }


def test_what_is_the_default_anyway_is_left_out():
    chat = read(text={"format": {"type": "text"}}, tools=[], store=False, service_tier="auto")
    assert set(chat) == {"model", "messages"}
    assert read(text={"format": {"type": "json_object"}})["response_format"] == {
        "type": "json_object"
    }


TOOL = {"type": "function", "name": "f"}
REFUSED = [
    ({"input": None}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": 1}, "input"),
    ({"input": [1]}, "input[0]"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": {}}]}, "input[0].content"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_video"}]}]},
        "input[0].content[0].type",
    ),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].file_id",
    ),
    (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "f"}]}]},
        "input[0].content[0].file_url",
    ),
    ({"input": [{**CALL, "arguments": {}}]}, "input[0].arguments"),
    ({"input": [{**OUTPUT, "call_id": ""}]}, "input[0].call_id"),
    ({"input": [{"type": "reasoning", "summary": [1]}]}, "input[0].summary[0]"),
    ({"instructions": 1}, "instructions"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{**TOOL, "parameters": "x"}]}, "tools[0].parameters"),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ({"text": {"verbosity": "chatty"}}, "text.verbosity"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    ({"reasoning": {"effort": 1}}, "reasoning.effort"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"include": ["message.output_text.logprobs"]}, "include"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"moderation": {"model": "x"}}, "moderation"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"truncation": "middle"}, "truncation"),
    ({"stream_options": 1}, "stream_options"),
    ({"stream": 1}, "stream"),
    ({"nonsense": 1}, "nonsense"),
]


@pytest.mark.parametrize(("change", "field"), REFUSED)
def test_what_is_wrong_or_cannot_be_translated_is_refused_by_name(change, field):
    with pytest.raises(InvalidArgument) as caught:
        WIRE.read({"model": "m", "input": "hi", **change})
    assert caught.value.field == field
