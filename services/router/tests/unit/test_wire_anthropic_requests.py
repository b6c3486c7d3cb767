"""Requests of Anthropic's wire: what each part becomes in chat, and what is refused by name."""

import pytest

from infermesh_common.errors import InvalidArgument
from infermesh_router.domain.surfaces.anthropic.wire import MessagesWire

WIRE = MessagesWire()
HI = [{"role": "user", "content": "hi"}]
PIXEL = {"type": "base64", "media_type": "image/png", "data": "aGk="}
EPHEMERAL = {"type": "ephemeral"}


def body(**more):
    return {"model": "m", "max_tokens": 2000, "messages": HI, **more}


def read(**more):
    return WIRE.read(body(**more)).body


def block(*blocks, role="user"):
    return read(messages=[{"role": role, "content": list(blocks)}])["messages"]


def test_the_least_request_is_one_message():
    asked = WIRE.read(body())
    assert asked.body == {"model": "m", "max_tokens": 2000, "messages": HI}
    assert (asked.model, asked.stream) == ("m", False)


@pytest.mark.parametrize("system", ["", [], None])
def test_an_empty_system_prompt_is_none(system):
    assert read(system=system)["messages"] == HI


def test_a_system_prompt_in_parts_keeps_its_marks():
    parts = [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "cache_control": EPHEMERAL},
    ]
    assert read(system=parts)["messages"][0] == {"role": "system", "content": parts}


def test_images_and_documents_become_parts_of_chat():
    url = {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    plain = {"type": "text", "media_type": "text/plain", "data": "read me"}
    (message,) = block(
        {"type": "image", "source": PIXEL, "cache_control": EPHEMERAL},
        url,
        {"type": "document", "source": pdf},
        {"type": "document", "source": plain},
    )
    file = {"filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="}
    assert message["content"] == [
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,aGk="},
            "cache_control": EPHEMERAL,
        },
        {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
        {"type": "file", "file": file},
        {"type": "text", "text": "read me"},
    ]


def test_results_of_tools_are_messages_of_their_own():
    results = [
        {"type": "tool_result", "tool_use_id": "a", "content": "rain", "is_error": True},
        {"type": "tool_result", "tool_use_id": "b"},
    ]
    assert block(*results, {"type": "text", "text": "and?"}) == [
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": "and?"},
    ]


def test_what_an_assistant_said_keeps_thoughts_text_and_calls():
    (message,) = block(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "thinking", "thinking": "unsigned", "signature": ""},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"x": [1]}},
        role="assistant",
    )
    assert message == {
        "role": "assistant",
        "content": "so",
        "reasoning_content": "hmunsigned",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
        ],
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x":[1]}'}}
        ],
    }


def test_a_mark_of_the_whole_request_is_at_its_end():
    parts = [{"type": "text", "text": "hi", "cache_control": EPHEMERAL}]
    assert read(cache_control=EPHEMERAL)["messages"] == [{"role": "user", "content": parts}]


@pytest.mark.parametrize(
    ("choice", "becomes"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
            {
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "parallel_tool_calls": False,
            },
        ),
    ],
)
def test_a_choice_of_tools_is_chats(choice, becomes):
    chat = read(tools=[{"name": "f", "input_schema": {}}], tool_choice=choice)
    assert {name: chat[name] for name in becomes} == becomes
    assert ("parallel_tool_calls" in chat) == ("parallel_tool_calls" in becomes)


def test_thinking_and_the_form_of_the_answer_are_kept():
    thinking = {"type": "enabled", "budget_tokens": 1024}
    form = {"type": "json_schema", "schema": {"type": "object"}}
    chat = read(thinking=thinking, output_config={"effort": "low", "format": form}, top_k=3)
    assert (chat["thinking"], chat["reasoning_effort"], chat["top_k"]) == (thinking, "low", 3)
    assert chat["response_format"]["json_schema"]["schema"] == {"type": "object"}


def message(*blocks, role="user"):
    return {"messages": [{"role": role, "content": list(blocks)}]}


TOOL = {"name": "f", "input_schema": {}}
REFUSED = [
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [1]}, "messages[0]"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    (message({"type": "video"}), "messages[0].content[0].type"),
    (message({"type": "text", "text": 1}), "messages[0].content[0].text"),
    (message({"type": "image", "source": 1}), "messages[0].content[0].source"),
    (
        message({"type": "image", "source": {"type": "file", "file_id": "x"}}),
        "messages[0].content[0].source.type",
    ),
    (
        message({"type": "image", "source": {**PIXEL, "media_type": "image/bmp"}}),
        "messages[0].content[0].source.media_type",
    ),
    (
        message({"type": "document", "source": {"type": "url", "url": "x"}}),
        "messages[0].content[0].source.type",
    ),
    (
        message({"type": "document", "source": {}, "citations": {"enabled": True}}),
        "messages[0].content[0].citations.enabled",
    ),
    (
        message({"type": "text", "text": "x"}, {"type": "tool_result", "tool_use_id": "a"}),
        "messages[0].content[1]",
    ),
    (message({"type": "tool_result"}), "messages[0].content[0].tool_use_id"),
    (
        message({"type": "tool_use", "id": "a", "name": "f", "input": []}, role="assistant"),
        "messages[0].content[0].input",
    ),
    (
        message({"type": "text", "text": "x", "cache_control": {"type": "for ever"}}),
        "messages[0].content[0].cache_control.type",
    ),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"model": 1}, "model"),
    ({"stream": "yes"}, "stream"),
    ({"system": 1}, "system"),
    ({"system": [{"type": "image"}]}, "system[0].type"),
    ({"temperature": 1.5}, "temperature"),
    ({"top_p": "x"}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"stop_sequences": [1]}, "stop_sequences[0]"),
    ({"metadata": "x"}, "metadata"),
    ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"tools": [{**TOOL, "allowed_callers": ["code"]}]}, "tools[0].allowed_callers"),
    ({"tools": [{"name": "", "input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "x"}}, "tool_choice.type"),
    ({"thinking": {"type": "between_tools"}}, "thinking.type"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking.budget_tokens"),
    ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ({"container": "x"}, "container"),
    ({"inference_geo": "eu"}, "inference_geo"),
    ({"context_management": {"edits": []}}, "context_management"),
    ({"speed": "fast"}, "speed"),
    ({"nonsense": None}, "nonsense"),
]


@pytest.mark.parametrize(("change", "field"), REFUSED)
def test_what_is_wrong_or_cannot_be_translated_is_refused_by_name(change, field):
    with pytest.raises(InvalidArgument) as caught:
        WIRE.read(body(**change))
    assert caught.value.field == field
