"""What the contract of all dialects does not ask of Bedrock's."""

import subprocess
import sys

import orjson
import pytest

from infermesh_common.errors import InvalidArgument, ResourceExhausted, Unavailable
from infermesh_common.resources.resource_set import parse
from infermesh_common.testing.resources import model, resource
from infermesh_router.adapters.outbound.providers.bedrock import BedrockDialect
from infermesh_router.adapters.outbound.providers.bedrock_signing import AccessKey, access_key_of
from infermesh_router.domain.request import Surface
from infermesh_router.domain.sse import EventTooLarge
from infermesh_router.testing.wire_sample import Said
from infermesh_router.testing.wires.bedrock import BedrockWire, framed

ARN = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude:0"
URL = "https://bedrock-runtime.eu-central-1.amazonaws.com"
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


def call(body, *, name="anthropic.claude", stream=False, surface=Surface.CHAT):
    chosen = parse(model("m", upstreamModel=name), "test")
    full = {"messages": [{"role": "user", "content": "Hi"}], **body}
    return BedrockDialect().call(chosen, surface, full, stream=stream)


def sent(body):
    return orjson.loads(call(body).body)


def proof(secret):
    spec = parse(
        resource("Provider", "aws", protocol="bedrock", region="eu-central-1", baseUrl=URL), "test"
    ).spec
    asked = call({}, name=ARN)
    return BedrockDialect().headers(spec, URL + asked.path, asked, secret)


def test_the_mesh_does_not_load_botocore_before_it_calls_bedrock():
    program = "import sys, infermesh_router.bootstrap; sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_name_of_a_model_may_be_an_arn():
    asked = call({}, name=ARN, stream=True)
    assert asked.path.count("/") == 3 and asked.path.endswith("/converse-stream")
    assert "%3A" in asked.path and "%2F" in asked.path


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("AKID:secret", AccessKey("AKID", "secret")),
        ("AKID:secret:to:ken", AccessKey("AKID", "secret", "to:ken")),
        (
            '{"accessKeyId":"AKID","secretAccessKey":"s","sessionToken":"t"}',
            AccessKey("AKID", "s", "t"),
        ),
        ('{"accessKeyId":"AKID","secretAccessKey":"s"}', AccessKey("AKID", "s")),
        ("ABSKQmVkcm9jaw==", None),
    ],
)
def test_a_secret_is_an_access_key_or_an_api_key(secret, expected):
    assert access_key_of(secret) == expected


@pytest.mark.parametrize("secret", ["{", "{}", ":secret", "AKID:", '{"accessKeyId":"A"}'])
def test_a_secret_that_is_neither_is_the_meshs_fault_and_is_not_quoted(secret):
    with pytest.raises(Unavailable) as caught:
        access_key_of(secret)
    assert caught.value.reason == "PROVIDER_KEY_INVALID" and secret not in caught.value.message


def test_an_api_key_is_sent_as_it_is_and_a_session_token_is_signed():
    assert proof("ABSK1") == {"authorization": "Bearer ABSK1"}
    signed = proof("AKID:secret:token")
    assert signed["x-amz-security-token"] == "token"
    assert "x-amz-security-token" in signed["authorization"]
    assert "secret" not in signed["authorization"]


def test_marks_for_the_prompt_cache_follow_what_they_mark():
    mark = {"cache_control": {"type": "ephemeral"}}
    body = sent(
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be brief.", **mark}]},
                {"role": "user", "content": [{"type": "text", "text": "Hi", **mark}]},
            ],
            "tools": [{**TOOL, **mark}],
        }
    )
    point = {"cachePoint": {"type": "default"}}
    assert body["system"] == [{"text": "Be brief."}, point]
    assert body["messages"][0]["content"] == [{"text": "Hi"}, point]
    assert body["toolConfig"]["tools"][1] == point


def test_a_tool_that_was_called_cannot_be_kept_from_the_model():
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "function": {"name": "clock", "arguments": "{}"}}],
    }
    result = {"role": "tool", "tool_call_id": "1", "content": "noon"}
    messages = [{"role": "user", "content": "Time?"}, called, result]
    with pytest.raises(InvalidArgument) as caught:
        sent({"messages": messages, "tools": [TOOL], "tool_choice": "none"})
    assert caught.value.field == "tool_choice"


def test_thoughts_go_back_with_their_signature():
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
    ]
    said = {"role": "assistant", "content": "Yes.", "thinking_blocks": blocks}
    asked = sent({"messages": [{"role": "user", "content": "So?"}, said]})
    assert asked["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig=="}}},
        {"reasoningContent": {"redactedContent": "ZGF0YQ=="}},
        {"text": "Yes."},
    ]


def test_effort_and_top_k_go_into_the_models_own_fields():
    asked = sent({"reasoning_effort": "high", "top_k": 5})
    assert asked["additionalModelRequestFields"] == {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "top_k": 5,
    }
    off = sent({"reasoning_effort": "none"})["additionalModelRequestFields"]
    assert off == {"thinking": {"type": "disabled"}}


def test_an_event_that_does_not_end_is_bounded():
    stream = BedrockDialect().stream({}, 1_000)
    frame = BedrockWire().streamed(Said(("x" * 5_000,)))[1]
    with pytest.raises(EventTooLarge):
        for start in range(0, len(frame), 500):
            stream.feed(frame[start : start + 500])


def test_throttling_in_a_stream_is_a_rate_limit():
    headers = {":exception-type": "throttlingException", ":message-type": "exception"}
    stream = BedrockDialect().stream({}, 1_000)
    with pytest.raises(ResourceExhausted):
        stream.feed(framed(headers, {"message": "slow down"}))


def test_the_failure_of_the_model_behind_the_api_is_not_the_requests():
    error = BedrockDialect().error("aws", 424, {}, b'{"message":"model failed"}')
    assert isinstance(error, Unavailable)
