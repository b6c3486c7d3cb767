"""What is sent to Bedrock is what AWS' own client would send."""

import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.session import get_session
from botocore.validate import ParamValidator

from infermesh_common.errors import InvalidArgument, ResourceExhausted, Unavailable
from infermesh_common.resources.resource_set import parse
from infermesh_common.resources.types import ProviderSpec
from infermesh_common.testing.resources import model
from infermesh_router.adapters.outbound.providers import http
from infermesh_router.adapters.outbound.providers.bedrock import BedrockDialect
from infermesh_router.domain.request import Surface
from infermesh_router.testing.scripted_http import Reply, ScriptedHttp
from infermesh_router.testing.wires.bedrock import framed

DIALECT = BedrockDialect()
REGION = "eu-central-1"
ARN = f"arn:aws:bedrock:{REGION}:123456789012:inference-profile/eu.anthropic.claude:0"
PDF = {
    "type": "file",
    "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": ""},
}
MARK = {"type": "ephemeral", "ttl": "1h"}
EVERYTHING = {
    "messages": [
        {
            "role": "system",
            "content": [{"type": "text", "text": "Be brief.", "cache_control": MARK}],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?", "cache_control": MARK},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                PDF,
            ],
        },
        {
            "role": "assistant",
            "content": "Let me see.",
            "thinking_blocks": [
                {"type": "thinking", "thinking": "Hm.", "signature": "sig=="},
                {"type": "redacted_thinking", "data": "ZGF0YQ=="},
            ],
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at": [1, 2.5, null]}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "A cat"},
    ],
    "tools": [
        {
            "type": "function",
            "cache_control": MARK,
            "function": {
                "name": "look",
                "description": "Looks.",
                "strict": True,
                "parameters": {"type": "object", "properties": {"at": {"type": "array"}}},
            },
        }
    ],
    "tool_choice": "required",
    "max_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.25,
    "top_k": 7,
    "stop": ["END"],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "cat", "schema": {"type": "object"}},
    },
}


class Caught(Exception):
    """A request has been caught before it left."""


def call(body, name="anthropic.claude", stream=False):
    chosen = parse(model("m", upstreamModel=name), "test")
    return DIALECT.call(chosen, Surface.CHAT, body, stream=stream)


def documents(*names):
    """The names that documents are sent under."""
    files = [{"type": "file", "file": {**PDF["file"], "filename": name}} for name in names]
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "So?"}, *files]}]}
    (message,) = orjson.loads(call(body).body)["messages"]
    return [block["document"]["name"] for block in message["content"][1:]]


@pytest.fixture(scope="module")
def client():
    """AWS' own client; what it would send is in `sent`, and nothing leaves."""
    made = get_session().create_client(
        "bedrock-runtime",
        region_name=REGION,
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    made.sent = []

    def catch(request, **_):
        made.sent.append(request)
        raise Caught

    made.meta.events.register("before-send.bedrock-runtime", catch)
    return made


def test_every_field_is_one_that_the_api_has(client):
    asked = orjson.loads(call(EVERYTHING).body)
    shape = client.meta.service_model.operation_model("Converse").input_shape
    report = ParamValidator().validate({"modelId": "m", **asked}, shape)
    assert not report.has_errors(), report.generate_report()
    known = set(shape.members)
    assert asked.keys() <= known
    blocks = shape.members["messages"].member.members["content"].member
    for message in asked["messages"]:
        assert all(block.keys() <= set(blocks.members) for block in message["content"])


@pytest.mark.parametrize("name", ["anthropic.claude-v1:0", ARN])
@pytest.mark.parametrize("stream", [False, True])
def test_path_and_body_are_those_of_awss_own_client(client, name, stream):
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "temperature": 0.5}
    ours = call(body, name, stream)
    operation = client.converse_stream if stream else client.converse
    with pytest.raises(Caught):
        operation(modelId=name, **orjson.loads(ours.body))
    theirs = client.sent[-1]
    host = f"https://bedrock-runtime.{REGION}.amazonaws.com"
    assert host + ours.path == theirs.url
    assert orjson.loads(theirs.body) == orjson.loads(ours.body)


async def test_the_signature_is_that_of_the_request_as_it_leaves():
    async with ScriptedHttp() as aws:
        aws.reply = Reply([b"{}"])
        base = f"http://127.0.0.1:{aws.port}"
        spec = ProviderSpec(protocol="bedrock", region=REGION, base_url=base)
        wire = http.ProviderHttp(spec)
        asked = call(EVERYTHING, ARN)
        proof = DIALECT.headers(spec, wire.url(asked), asked, "AKID:secret:token")
        response = await wire.post(asked, proof)
        await http.read_whole(response, 100)
        await wire.close()
    (got,) = aws.received
    # AWS does the same with what it receives.
    again = AWSRequest("POST", base + got.path, data=got.body)
    again.context["timestamp"] = got.headers["x-amz-date"]
    again.headers["X-Amz-Date"] = got.headers["x-amz-date"]
    again.headers["X-Amz-Security-Token"] = got.headers["x-amz-security-token"]
    signer = SigV4Auth(Credentials("AKID", "secret", "token"), "bedrock", REGION)
    text = signer.string_to_sign(again, signer.canonical_request(again))
    assert got.headers["authorization"].endswith(f"Signature={signer.signature(text, again)}")
    assert f"/{REGION}/bedrock/aws4_request" in got.headers["authorization"]


def test_documents_have_names_that_the_api_takes():
    assert documents("") == ["document"]
    assert documents("Größe  v1.2_final!.pdf") == ["Gr e v1 2 final"]
    assert documents("报告.pdf", "a (1) [x]-y.pdf") == ["document", "a (1) [x]-y"]
    assert len(documents("x" * 500)[0]) <= 200


def test_no_two_documents_have_the_same_name():
    assert documents("a.pdf", "A.pdf", "a 2.pdf", "a.pdf") == ["a", "A 2", "a 2 2", "a 3"]


def test_a_mark_for_the_prompt_cache_keeps_its_lifetime():
    body = {"messages": [{"role": "system", "content": [{"type": "text", "text": "x"}]}]}
    body["messages"][0]["content"][0]["cache_control"] = MARK
    assert orjson.loads(call(body).body)["system"][1] == {
        "cachePoint": {"type": "default", "ttl": "1h"}
    }


def test_a_thought_without_a_signature_goes_back_without_one():
    blocks = [{"type": "thinking", "thinking": "Hm."}]
    said = {"role": "assistant", "content": "Yes.", "thinking_blocks": blocks}
    body = {"messages": [{"role": "user", "content": "So?"}, said]}
    thought = orjson.loads(call(body).body)["messages"][1]["content"][0]
    assert thought == {"reasoningContent": {"reasoningText": {"text": "Hm."}}}


@pytest.mark.parametrize(
    ("status", "kind", "expected", "reason"),
    [
        (400, "ValidationException", InvalidArgument, "PROVIDER_REJECTED_REQUEST"),
        (400, "ThrottlingException", ResourceExhausted, "PROVIDER_RATE_LIMITED"),
        (400, "ServiceQuotaExceededException", ResourceExhausted, "PROVIDER_RATE_LIMITED"),
        (429, "ModelNotReadyException", Unavailable, "PROVIDER_FAILED"),
        (424, "ModelErrorException", Unavailable, "PROVIDER_FAILED"),
        (400, "ExpiredTokenException", Unavailable, "PROVIDER_REFUSED_CREDENTIALS"),
        (403, "AccessDeniedException", Unavailable, "PROVIDER_REFUSED_CREDENTIALS"),
        (503, "ServiceUnavailableException", Unavailable, "PROVIDER_FAILED"),
    ],
)
def test_what_went_wrong_is_what_the_header_names(status, kind, expected, reason):
    headers = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/com.amazon/"}
    error = DIALECT.error("aws", status, headers, b'{"message": "No."}')
    assert (type(error), error.reason) == (expected, reason)
    assert error.metadata["provider_type"] == kind
    assert error.metadata["provider_status"] == str(status)


def test_what_the_model_could_not_write_is_no_answer():
    message = {"role": "assistant", "content": []}
    for reason in ("malformed_model_output", "malformed_tool_use"):
        value = {"output": {"message": message}, "stopReason": reason}
        with pytest.raises(Unavailable) as caught:
            DIALECT.answer(Surface.CHAT, {}, orjson.dumps(value))
        assert caught.value.reason == "PROVIDER_FAILED"
        assert reason in caught.value.message


def test_an_error_of_the_connection_has_words():
    headers = {
        ":message-type": "error",
        ":error-code": "InternalError",
        ":error-message": "Something broke",
    }
    with pytest.raises(Unavailable) as caught:
        DIALECT.stream({}, 1000).feed(framed(headers, {}))
    assert "Something broke" in caught.value.message
    assert caught.value.metadata["provider_code"] == "InternalError"
