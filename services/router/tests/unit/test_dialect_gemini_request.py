"""Requests in Gemini's form, beyond what every dialect promises."""

import orjson
import pytest
from google.genai import types

from infermesh_common.errors import InvalidArgument
from infermesh_common.resources.resource_set import parse
from infermesh_common.resources.types import ProviderSpec
from infermesh_common.testing.resources import model
from infermesh_router.adapters.outbound.providers.gemini import GeminiDialect
from infermesh_router.domain.request import Surface

DIALECT = GeminiDialect()
GOOGLE = "https://generativelanguage.googleapis.com/v1beta"
VERTEX = "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/g"
HI = {"role": "user", "content": "Hi"}
PIXEL = "iVBORw0KGgo="


def named(upstream):
    return parse(model("m", upstreamModel=upstream), "test")


def called(body, upstream="gemini-3-flash", stream=False, surface=Surface.CHAT):
    return DIALECT.call(named(upstream), surface, body, stream=stream)


def sent(*messages, of="gemini-3-flash", **fields):
    """What is sent; it is what the types of the official SDK want."""
    value = orjson.loads(called({"messages": list(messages) or [HI], **fields}, of).body)
    for content in value["contents"]:
        types.Content.model_validate(content)
    types.Content.model_validate(value.get("systemInstruction", {}))
    types.GenerationConfig.model_validate(value.get("generationConfig", {}))
    for tool in value.get("tools", ()):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(value.get("toolConfig", {}))
    return value


def refusal(*messages, of="gemini-3-flash", **fields):
    with pytest.raises(InvalidArgument) as caught:
        sent(*messages, of=of, **fields)
    return caught.value.reason, caught.value.field


def user(*parts):
    return {"role": "user", "content": list(parts)}


def parts_of(*parts):
    (content,) = sent(user(*parts))["contents"]
    return content["parts"]


def call(identifier, name="f", arguments="{}", **fields):
    function = {"name": name, "arguments": arguments}
    return {"id": identifier, "type": "function", "function": function, **fields}


def result(identifier, content="done"):
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def signature(text):
    return {"extra_content": {"google": {"thought_signature": text}}}


def asked(*calls, **fields):
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **fields}


@pytest.mark.parametrize(
    ("upstream", "path"),
    [
        ("gemini-3-flash", "/models/gemini-3-flash"),
        ("tunedModels/mine-1", "/tunedModels/mine-1"),
        ("a b?c", "/models/a%20b%3Fc"),
    ],
)
def test_the_model_is_in_the_path(upstream, path):
    whole, stream = [called({"messages": [HI]}, upstream, stream) for stream in (False, True)]
    assert (whole.path, dict(whole.query)) == (f"{path}:generateContent", {})
    assert (stream.path, dict(stream.query)) == (f"{path}:streamGenerateContent", {"alt": "sse"})
    assert whole.body == stream.body


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"baseUrl": GOOGLE}, {"x-goog-api-key": "k"}),
        ({"baseUrl": GOOGLE, "authHeader": "Api-Key"}, {"api-key": "k"}),
        ({"baseUrl": VERTEX}, {"authorization": "Bearer k"}),
        ({"baseUrl": VERTEX, "authHeader": "x-goog-api-key"}, {"x-goog-api-key": "k"}),
    ],
)
def test_the_key_goes_where_the_endpoint_wants_it(fields, headers):
    spec = ProviderSpec(protocol="gemini", **fields)
    made = called({"messages": [HI]})
    assert DIALECT.headers(spec, f"{spec.base_url}{made.path}", made, "k") == headers


def test_every_setting_of_the_sampling_has_its_name():
    fields = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 3,
        "n": 2,
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": -1,
        "max_tokens": 5,
        "max_completion_tokens": 6,
        "stop": "END",
        "logprobs": True,
        "top_logprobs": 4,
    }
    assert sent(**fields)["generationConfig"] == {
        "temperature": 0,
        "topP": 0.5,
        "topK": 3,
        "candidateCount": 2,
        "seed": 7,
        "presencePenalty": 0.5,
        "frequencyPenalty": -1,
        "maxOutputTokens": 6,
        "stopSequences": ["END"],
        "responseLogprobs": True,
        "logprobs": 4,
    }


def test_an_answer_in_json_needs_no_schema():
    config = sent(response_format={"type": "json_object"})["generationConfig"]
    assert config == {"responseMimeType": "application/json"}
    assert "generationConfig" not in sent(response_format={"type": "text"})


@pytest.mark.parametrize(
    ("upstream", "fields", "config"),
    [
        ("gemini-2.5-pro", {"reasoning_effort": "minimal"}, (1024, None)),
        ("gemini-2.5-pro", {"reasoning_effort": "high"}, (24576, None)),
        ("gemini-flash-latest", {"reasoning_effort": "medium"}, (8192, None)),
        ("gemini-3-flash", {"reasoning_effort": "minimal"}, (None, "MINIMAL")),
        ("gemini-3.1-pro", {"reasoning_effort": "xhigh"}, (None, "XHIGH")),
        ("gemini-3-flash", {"thinking": {"type": "adaptive"}}, (-1, None)),
        (
            "gemini-3-flash",
            {"thinking": {"type": "enabled", "budget_tokens": 77}, "reasoning_effort": "low"},
            (77, None),
        ),
    ],
)
def test_thinking_is_asked_for_as_the_model_wants_it(upstream, fields, config):
    thinking = sent(of=upstream, **fields)["generationConfig"]["thinkingConfig"]
    assert (thinking.get("thinkingBudget"), thinking.get("thinkingLevel")) == config
    assert thinking["includeThoughts"] is True


@pytest.mark.parametrize(
    "fields", [{"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}]
)
def test_thinking_is_switched_off(fields):
    assert sent(**fields)["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0}


def test_what_cannot_be_thought_is_refused():
    assert refusal(of="gemini-2.5-pro", reasoning_effort="xhigh")[1] == "reasoning_effort"
    assert refusal(thinking="much") == ("INVALID_THINKING", "thinking")
    assert refusal(thinking={"type": "enabled", "budget_tokens": True})[1] == "thinking"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://x/a/cat.PNG?size=2"}},
            {"fileData": {"fileUri": "https://x/a/cat.PNG?size=2", "mimeType": "image/png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x/a"}},
            {"fileData": {"fileUri": "https://x/a"}},
        ),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}"}},
            {"inlineData": {"mimeType": "application/pdf", "data": PIXEL}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "mp3"}},
            {"inlineData": {"mimeType": "audio/mp3", "data": PIXEL}},
        ),
        ({"type": "text", "text": " ", "cache_control": {"type": "ephemeral"}}, {"text": " "}),
    ],
)
def test_contents_of_every_kind_are_translated(part, expected):
    assert parts_of(part) == [expected]


@pytest.mark.parametrize(
    ("part", "reason", "field"),
    [
        ({"type": "file", "file": {"file_id": "f-1"}}, "UNSUPPORTED_PARAMETER", ".file"),
        ({"type": "video_url", "video_url": {}}, "UNSUPPORTED_PARAMETER", ".type"),
        (
            {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "pcm"}},
            "UNSUPPORTED_PARAMETER",
            ".input_audio",
        ),
        ({"type": "image_url", "image_url": {}}, "INVALID_MESSAGES", ".image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": "http://[x"}},
            "INVALID_MESSAGES",
            ".image_url.url",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png,raw"}},
            "INVALID_MESSAGES",
            ".image_url.url",
        ),
        ({"type": "text"}, "INVALID_MESSAGES", ""),
        ("text", "INVALID_MESSAGES", ""),
    ],
)
def test_contents_that_cannot_be_translated_are_refused(part, reason, field):
    assert refusal(user(part)) == (reason, f"messages[0].content[0]{field}")


def test_results_of_tools_are_a_turn_of_their_own_under_the_functions_names():
    contents = sent(
        HI,
        asked(call("1", "weather", '{"city": "Rome"}'), call("2", "clock", "")),
        result("1", "Sunny"),
        {"role": "user", "content": "Well?"},
        result("2", [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]),
    )["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user", "user"]
    assert [part["functionResponse"] for part in contents[2]["parts"]] == [
        {"id": "1", "name": "weather", "response": {"output": "Sunny"}},
        {"id": "2", "name": "clock", "response": {"output": "12"}},
    ]
    assert contents[3]["parts"] == [{"text": "Well?"}]


def test_the_result_of_a_tool_may_be_an_image():
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    (turn,) = sent(HI, asked(call("1")), result("1", [image]))["contents"][2:]
    assert turn["parts"][0]["functionResponse"]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
    ]


@pytest.mark.parametrize("content", ['{"a": 12345678901234567890}', "[1, 2]", "null", ""])
def test_the_result_of_a_tool_is_not_rewritten(content):
    turn = sent(HI, asked(call("1")), result("1", content))["contents"][2]
    assert turn["parts"][0]["functionResponse"]["response"] == {"output": content}


def test_a_result_without_its_call_is_refused():
    assert refusal(HI, result("1")) == ("INVALID_MESSAGES", "messages[1].tool_call_id")
    assert refusal(asked(call("1")), result(None))[1] == "messages[1].tool_call_id"


@pytest.mark.parametrize(
    ("message", "reason", "field"),
    [
        ({"role": "function", "content": "x"}, "UNSUPPORTED_PARAMETER", ".role"),
        (asked(function_call={"name": "f"}), "UNSUPPORTED_PARAMETER", ".function_call"),
        (
            asked(call("1", arguments="[1]")),
            "INVALID_MESSAGES",
            ".tool_calls[0].function.arguments",
        ),
        (asked(call("1", arguments="{")), "INVALID_MESSAGES", ".tool_calls[0].function.arguments"),
        (asked({"id": "1"}), "INVALID_MESSAGES", ".tool_calls[0]"),
        ({"role": "assistant", "tool_calls": 7}, "INVALID_MESSAGES", ".tool_calls"),
        ({"role": "user", "content": 7}, "INVALID_MESSAGES", ".content"),
        (
            {
                "role": "system",
                "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
            },
            "UNSUPPORTED_PARAMETER",
            ".content",
        ),
    ],
)
def test_messages_that_cannot_be_translated_are_refused(message, reason, field):
    assert refusal(message) == (reason, f"messages[0]{field}")


def test_signatures_go_back_where_they_came_from():
    said = {"role": "assistant", "content": "So", **signature("dGV4dA==")}
    silent = {"role": "assistant", "content": None, **signature("c2lsZW50")}
    calls = asked(call("1", **signature("Y2FsbA==")), call("2"))
    contents = sent(HI, said, HI, silent, HI, calls, result("1"), result("2"))["contents"]
    assert contents[1]["parts"] == [{"text": "So", "thoughtSignature": "dGV4dA=="}]
    assert contents[3]["parts"] == [{"text": "", "thoughtSignature": "c2lsZW50"}]
    assert [part.get("thoughtSignature") for part in contents[5]["parts"]] == ["Y2FsbA==", None]


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ("gemini-3-flash", "skip_thought_signature_validator"),
        ("gemini-flash-latest", "skip_thought_signature_validator"),
        ("gemini-2.5-flash", None),
        ("gemini-1.5-pro", None),
    ],
)
def test_calls_of_another_model_are_let_through(upstream, expected):
    calls = sent(HI, asked(call("1"), call("2")), result("1"), result("2"), of=upstream)
    signatures = [part.get("thoughtSignature") for part in calls["contents"][1]["parts"]]
    assert signatures == [expected, None]


def test_thoughts_of_other_models_stay_behind():
    thought = {"type": "thinking", "thinking": "Hm", "signature": "theirs"}
    said = {
        "role": "assistant",
        "content": "So",
        "reasoning_content": "Hm",
        "thinking_blocks": [thought],
    }
    assert sent(HI, said)["contents"][1]["parts"] == [{"text": "So"}]


def test_tools_keep_their_schemas_and_may_have_none():
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {}}}
    declared = [
        {
            "type": "function",
            "cache_control": {"type": "ephemeral"},
            "function": {"name": "f", "parameters": schema, "strict": True},
        },
        {"type": "function", "function": {"name": "g", "description": "G", "parameters": None}},
    ]
    assert sent(tools=declared)["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "parametersJsonSchema": schema},
                {"name": "g", "description": "G"},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"tools": {"a": 1}}, "INVALID_TOOLS", "tools"),
        ({"tools": [{"type": "function"}]}, "INVALID_TOOLS", "tools[0]"),
        ({"tools": ["f"]}, "INVALID_TOOLS", "tools[0]"),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": {"type": "allowed_tools"},
            },
            "UNSUPPORTED_PARAMETER",
            "tool_choice",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            "UNSUPPORTED_PARAMETER",
            "response_format",
        ),
    ],
)
def test_tools_and_formats_that_are_none_are_refused(fields, reason, field):
    assert refusal(**fields) == (reason, field)


def embedded(**body):
    made = called(body, "gemini-embedding-001", surface=Surface.EMBEDDINGS)
    assert made.path == "/models/gemini-embedding-001:batchEmbedContents"
    return orjson.loads(made.body)["requests"]


def test_texts_are_embedded_in_one_call():
    requests = embedded(input=["a", "b"], dimensions=3, encoding_format="base64", user="u")
    assert requests == [
        {
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": text}]},
            "outputDimensionality": 3,
        }
        for text in ("a", "b")
    ]
    (request,) = embedded(input="a")
    assert request.keys() == {"model", "content"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": [[1, 2]]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "task": "search"}, "task"),
    ],
)
def test_what_cannot_be_embedded_is_refused(fields, field):
    with pytest.raises(InvalidArgument) as caught:
        embedded(**fields)
    assert (caught.value.reason, caught.value.field) == ("UNSUPPORTED_PARAMETER", field)
