"""Chat requests in Anthropic's form, beyond what every dialect promises."""

import orjson
import pytest
from anthropic.types import (
    MessageParam,
    OutputConfigParam,
    TextBlockParam,
    ThinkingConfigParam,
    ToolChoiceParam,
    ToolParam,
)
from pydantic import TypeAdapter

from infermesh_common.errors import InvalidArgument
from infermesh_common.resources.resource_set import parse
from infermesh_common.resources.types import ProviderSpec
from infermesh_common.testing.resources import model
from infermesh_router.adapters.outbound.providers.anthropic import AnthropicDialect
from infermesh_router.domain.request import Surface

DIALECT = AnthropicDialect()
MODEL = parse(model("m", upstreamModel="claude-x"), "test")
HI = {"role": "user", "content": "Hi"}
MARK = {"type": "ephemeral"}
TYPES = {
    "messages": TypeAdapter(list[MessageParam]),
    "system": TypeAdapter(list[TextBlockParam]),
    "tools": TypeAdapter(list[ToolParam]),
    "tool_choice": TypeAdapter(ToolChoiceParam),
    "thinking": TypeAdapter(ThinkingConfigParam),
    "output_config": TypeAdapter(OutputConfigParam),
}


def sent(*messages, of=MODEL, **fields):
    """What is sent; it is what the types of the official SDK want."""
    body = {"messages": list(messages) or [HI], **fields}
    value = orjson.loads(DIALECT.call(of, Surface.CHAT, body, stream=False).body)
    for name, adapter in TYPES.items():
        if name in value:
            adapter.validate_python(value[name])
    return value


def refusal(*messages, **fields):
    with pytest.raises(InvalidArgument) as caught:
        sent(*messages, **fields)
    return caught.value.reason, caught.value.field


def user(*parts):
    return {"role": "user", "content": list(parts)}


def text(words, **fields):
    return {"type": "text", "text": words, **fields}


def function(name="f", **fields):
    return {"type": "function", "function": {"name": name, **fields}}


def called(arguments, identifier="call_1", **fields):
    call = {"id": identifier, "type": "function"}
    call["function"] = {"name": "f", "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [call], **fields}


def result(content, identifier="call_1"):
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def test_there_is_always_a_limit():
    limited = parse(model("m", maxOutputTokens=8192), "test")
    assert sent()["max_tokens"] == 4096
    assert sent(of=limited)["max_tokens"] == 8192
    assert sent(of=limited, max_tokens=5)["max_tokens"] == 5
    assert sent(max_tokens=5, max_completion_tokens=6)["max_tokens"] == 6
    thinking = {"type": "enabled", "budget_tokens": 10_000}
    assert sent(thinking=thinking)["max_tokens"] == 14_096


@pytest.mark.parametrize(
    ("fields", "thinking", "effort"),
    [
        ({}, None, None),
        ({"reasoning_effort": "none"}, {"type": "disabled"}, None),
        ({"reasoning_effort": "minimal"}, {"type": "adaptive"}, "low"),
        ({"reasoning_effort": "medium"}, {"type": "adaptive"}, "medium"),
        ({"reasoning_effort": "xhigh"}, {"type": "adaptive"}, "xhigh"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"type": "enabled", "budget_tokens": 2048},
            None,
        ),
        (
            {"thinking": {"type": "disabled"}, "reasoning_effort": "high"},
            {"type": "disabled"},
            "high",
        ),
    ],
)
def test_how_much_to_think_is_asked_in_the_apis_words(fields, thinking, effort):
    value = sent(**fields)
    assert value.get("thinking") == thinking
    assert value.get("output_config") == ({"effort": effort} if effort else None)


def test_a_schema_and_an_effort_are_asked_for_together():
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert sent(response_format=form, reasoning_effort="low")["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": schema},
    }
    assert "output_config" not in sent(response_format={"type": "text"})


def test_the_end_user_is_told_as_an_id():
    assert sent(user="u-1")["metadata"] == {"user_id": "u-1"}
    assert sent(user="u-1", safety_identifier="s-1")["metadata"] == {"user_id": "s-1"}
    assert "metadata" not in sent(metadata={"team": "x"})


def test_sampling_is_passed_on():
    value = sent(temperature=1, top_p=0.9, top_k=40, stop="END")
    assert (value["temperature"], value["top_p"], value["top_k"]) == (1, 0.9, 40)
    assert value["stop_sequences"] == ["END"]


def test_marks_for_the_prompt_cache_are_kept():
    value = sent(
        {"role": "system", "content": [text("Be brief.", cache_control=MARK)]},
        user(text("Hi", cache_control={**MARK, "ttl": "1h"})),
        called("{}"),
        result([text("One"), text("Two", cache_control=MARK)]),
        tools=[{**function(), "cache_control": MARK}],
    )
    assert value["system"] == [text("Be brief.", cache_control=MARK)]
    assert value["messages"][0]["content"][0]["cache_control"] == {**MARK, "ttl": "1h"}
    assert value["messages"][2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "call_1",
            "content": [text("One"), text("Two")],
            "cache_control": MARK,
        }
    ]
    assert value["tools"][0]["cache_control"] == MARK


def test_signed_thoughts_go_back_before_what_they_led_to():
    thoughts = [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "ZA=="},
    ]
    said = called("{}", content="Let me see.", thinking_blocks=thoughts, reasoning_content="Hm")
    value = sent(HI, said, result("1"))
    blocks = value["messages"][1]["content"]
    assert blocks[:2] == thoughts
    assert [block["type"] for block in blocks[2:]] == ["text", "tool_use"]


def test_thoughts_without_a_signature_are_not_sent():
    value = sent(HI, {"role": "assistant", "content": "Yes", "reasoning_content": "Hm"}, HI)
    assert value["messages"][1]["content"] == [text("Yes")]


def test_results_come_first_in_a_turn():
    value = sent(HI, called("{}"), user(text("Wait.")), result("1"))
    assert [block["type"] for block in value["messages"][2]["content"]] == ["tool_result", "text"]


def test_ids_of_other_providers_are_made_acceptable_on_both_sides():
    value = sent(HI, called("{}", "functions.f:0"), result("1", "functions.f:0"))
    assert value["messages"][1]["content"][0]["id"] == "functions_f_0"
    assert value["messages"][2]["content"][0]["tool_use_id"] == "functions_f_0"


def test_what_is_blank_is_left_out():
    value = sent(
        {"role": "system", "content": ""},
        {"role": "user", "content": " \n"},
        user(text("\t"), text("Hi")),
        {"role": "assistant", "content": ""},
    )
    assert "system" not in value
    assert value["messages"] == [{"role": "user", "content": [text("Hi")]}]


def test_a_refusal_is_said_again_as_a_text():
    value = sent(HI, {"role": "assistant", "content": None, "refusal": "No."}, HI)
    assert value["messages"][1]["content"] == [text("No.")]


def test_a_pdf_is_a_document():
    file = {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
    assert sent(user({"type": "file", "file": file}))["messages"][0]["content"] == [
        {"type": "document", "source": source, "title": "a.pdf"}
    ]


def test_an_image_among_results_is_an_image():
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    source = {"type": "base64", "media_type": "image/png", "data": "AA=="}
    value = sent(HI, called("{}"), result([url]))
    assert value["messages"][2]["content"][0]["content"] == [{"type": "image", "source": source}]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"tool_choice": "required"}, {"type": "any"}),
        (
            {"parallel_tool_calls": False},
            {"type": "auto", "disable_parallel_tool_use": True},
        ),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
        (
            {"tool_choice": function(), "parallel_tool_calls": False},
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_a_choice_of_tools_and_their_number_go_together(fields, expected):
    assert sent(tools=[function()], **fields).get("tool_choice") == expected
    assert "tool_choice" not in sent(**fields)


def test_a_tool_keeps_what_the_api_knows_of_it():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    tool = function(description="D", parameters=schema, strict=True)
    assert sent(tools=[tool, function("g")])["tools"] == [
        {"name": "f", "description": "D", "input_schema": schema, "strict": True},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]


AUDIO = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([user(AUDIO)], "messages[0].content[0].type"),
        ([user({"type": "file", "file": {"file_id": "f-1"}})], "messages[0].content[0].file"),
        (
            [user({"type": "file", "file": {"file_data": "data:text/csv;base64,AA=="}})],
            "messages[0].content[0].file.file_data",
        ),
        ([HI, {"role": "function", "name": "f", "content": "1"}], "messages[1].role"),
        (
            [HI, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}],
            "messages[1].function_call",
        ),
        ([{"role": "system", "content": [AUDIO]}], "messages[0].content[0].type"),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "h"}}]}],
            "messages[0].content",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(messages, field):
    assert refusal(*messages) == ("UNSUPPORTED_PARAMETER", field)


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([HI, called("[1]")], "messages[1].tool_calls[0].function.arguments"),
        ([HI, called("{")], "messages[1].tool_calls[0].function.arguments"),
        ([HI, called("{}", None)], "messages[1].tool_calls[0].id"),
        ([HI, result("1", None)], "messages[1].tool_call_id"),
        ([HI, {"role": "assistant", "tool_calls": "f"}], "messages[1].tool_calls"),
        ([HI, {"role": "assistant", "tool_calls": [{}]}], "messages[1].tool_calls[0]"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([user("Hi")], "messages[0].content[0]"),
        ([user({"type": "text"})], "messages[0].content[0]"),
        ([user({"type": "image_url"})], "messages[0].content[0].image_url.url"),
        (
            [user({"type": "image_url", "image_url": {"url": "data:,AA"}})],
            "messages[0].content[0].image_url.url",
        ),
    ],
)
def test_a_message_that_is_not_in_openais_form_is_refused_by_name(messages, field):
    assert refusal(*messages) == ("INVALID_MESSAGES", field)


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"thinking": 1}, "INVALID_THINKING", "thinking"),
        ({"tools": 1}, "INVALID_TOOLS", "tools"),
        ({"tools": [{}]}, "INVALID_TOOLS", "tools[0]"),
        ({"tools": [function()], "tool_choice": "f"}, "UNSUPPORTED_PARAMETER", "tool_choice"),
        ({"verbosity": "low"}, "UNSUPPORTED_PARAMETER", "verbosity"),
    ],
)
def test_a_field_that_cannot_be_translated_is_refused_by_name(fields, reason, field):
    assert refusal(**fields) == (reason, field)


def headers(**fields):
    spec = ProviderSpec(protocol="anthropic", base_url="http://x/v1", **fields)
    call = DIALECT.call(MODEL, Surface.CHAT, {"messages": [HI]}, stream=False)
    return {**call.headers, **DIALECT.headers(spec, "http://x/v1/messages", call, "sk-1")}


def test_the_operator_decides_on_the_version_and_the_keys_header():
    assert headers() == {"x-api-key": "sk-1", "anthropic-version": "2023-06-01"}
    own = headers(headers={"anthropic-version": "2026-10-21"}, auth_header="Api-Key")
    assert own == {"api-key": "sk-1", "anthropic-version": "2026-10-21"}
