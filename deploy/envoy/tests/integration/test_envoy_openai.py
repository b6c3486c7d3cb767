"""The OpenAI wire: bodies and streams byte for byte, errors in OpenAI's shape."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import grpc
import openai
import pytest
from google.api import httpbody_pb2
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from yarl import URL

from infermesh.router.v1 import openai_pb2
from infermesh_envoy.testing import Behaviour, Call, EnvoyProcess, ScriptedUpstream
from infermesh_envoy.testing.upstream import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/infermesh.router.v1.OpenAIService/CreateChatCompletion"
LIST_MODELS = "/infermesh.router.v1.OpenAIService/ListModels"
GET_MODEL = "/infermesh.router.v1.OpenAIService/GetModel"
ERROR = {"error": {"message": "over", "type": "rate_limit_error", "param": None, "code": "budget"}}
METADATA = (("x-infermesh-error", json.dumps(ERROR)), ("retry-after", "3"))
HARD_WORDS = 'say "hi" \\ to ü\\'
Mesh = dict[str, ScriptedUpstream]


def body(data: bytes, content_type: str = "application/json") -> bytes:
    message: bytes = httpbody_pb2.HttpBody(content_type=content_type, data=data).SerializeToString()
    return message


def failing(
    *metadata: tuple[str, str | bytes],
    code: grpc.StatusCode = grpc.StatusCode.RESOURCE_EXHAUSTED,
    message: str = "over",
    late: bool = False,
) -> Behaviour:
    """Refuses; `late`: after the initial metadata were sent."""

    async def behave(call: Call, context: Context) -> AsyncIterator[bytes]:
        if late:
            await context.send_initial_metadata((("x-infermesh-tier", "none"),))
        await context.abort(code, message, metadata)
        yield b""

    return behave


async def test_a_body_passes_unchanged_both_ways(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    question = b'{"model": "m",  "messages": [], "x": 1e400, "u": "\xc3\xbc"}'
    answer = b'{"choices": [ ], "z": 0.10000000000000000000}'

    async def behave(call: Call, context: Context) -> AsyncIterator[bytes]:
        await context.send_initial_metadata((("x-infermesh-tier", "none"),))
        yield body(answer)

    mesh["router"].script(CHAT, behave)
    headers = {"content-type": "application/json"}
    async with http.post("/v1/chat/completions", data=question, headers=headers) as response:
        assert response.status == 200
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-infermesh-tier"] == "none"
        assert await response.read() == answer
    received = httpbody_pb2.HttpBody.FromString(mesh["router"].calls[0].request)
    assert (received.data, received.content_type) == (question, "application/json")


async def test_a_stream_arrives_chunk_by_chunk_and_byte_for_byte(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    chunks = [b'data: {"n": 1}\n\n', b'data: {"n": 2}\n\n', b"data: [DONE]\n\n"]
    seen = [asyncio.Event() for _ in chunks]

    async def behave(call: Call, context: Context) -> AsyncIterator[bytes]:
        for chunk, event in zip(chunks, seen, strict=True):
            yield body(chunk, "text/event-stream")
            # The next one is not even made before the client has this one.
            await asyncio.wait_for(event.wait(), 10)

    mesh["router"].script(CHAT, behave)
    async with http.post("/v1/chat/completions", data=b'{"stream": true}') as response:
        assert response.headers["content-type"] == "text/event-stream"
        for chunk, event in zip(chunks, seen, strict=True):
            assert await response.content.readexactly(len(chunk)) == chunk
            event.set()
        assert await response.content.read() == b""


@pytest.mark.parametrize("late", [False, True], ids=["trailers-only", "after-metadata"])
@pytest.mark.parametrize(
    ("method", "verb", "path"),
    [
        (CHAT, "POST", "/v1/chat/completions"),
        (LIST_MODELS, "GET", "/v1/models"),
        (GET_MODEL, "GET", "/v1/models/m"),
    ],
)
async def test_an_error_has_the_body_and_the_headers_the_router_gave(
    mesh: Mesh, http: aiohttp.ClientSession, late: bool, method: str, verb: str, path: str
) -> None:
    mesh["router"].script(method, failing(*METADATA, late=late))
    async with http.request(verb, path) as response:
        assert response.status == 429
        assert response.headers["content-type"] == "application/json"
        assert response.headers["retry-after"] == "3"
        assert "x-infermesh-error" not in response.headers
        raw = await response.read()
        assert json.loads(raw) == ERROR
        assert response.headers.getall("content-length") == [str(len(raw))]


async def test_the_official_sdk_raises_its_own_class(mesh: Mesh, edge: EnvoyProcess) -> None:
    mesh["router"].script(CHAT, failing(*METADATA))
    base = f"http://127.0.0.1:{edge.port}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="k", max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=[])
    assert caught.value.code == "budget"
    assert caught.value.response.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limit_error"),
        (grpc.StatusCode.UNAUTHENTICATED, 401, "authentication_error"),
        (grpc.StatusCode.PERMISSION_DENIED, 403, "permission_error"),
        (grpc.StatusCode.INVALID_ARGUMENT, 400, "invalid_request_error"),
        (grpc.StatusCode.INTERNAL, 500, "server_error"),
    ],
)
async def test_an_error_of_grpc_itself_is_given_the_shape(
    mesh: Mesh, http: aiohttp.ClientSession, code: grpc.StatusCode, status: int, kind: str
) -> None:
    mesh["router"].script(CHAT, failing(code=code, message=HARD_WORDS))
    async with http.post("/v1/chat/completions", data=b"{}") as response:
        assert response.status == status
        assert await response.json() == {
            "error": {"message": HARD_WORDS, "type": kind, "param": None, "code": None}
        }


async def test_an_unknown_method_is_an_error_in_the_shape(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    async with http.post("/v1/chat/completions", data=b"{}") as response:
        assert response.status == 501
        assert (await response.json())["error"]["type"] == "server_error"


async def test_elsewhere_an_error_is_a_readable_status(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    info, bad_request = any_pb2.Any(), any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason="TOO_LONG", domain="infermesh.dev"))
    violation = error_details_pb2.BadRequest.FieldViolation(field="prompt", description="long")
    bad_request.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    code = grpc.StatusCode.INVALID_ARGUMENT
    status = status_pb2.Status(
        code=code_pb2.INVALID_ARGUMENT, message="long", details=[info, bad_request]
    )
    details = ("grpc-status-details-bin", status.SerializeToString())
    infer = "/infermesh.router.v1.InferenceService/Infer"
    mesh["router"].script(infer, failing(details, code=code, message="long"))
    async with http.post("/infer", json={"prompt": "p"}) as response:
        assert response.status == 400
        answer = await response.json()
    assert (answer["code"], answer["message"]) == (3, "long")
    types = [detail["@type"].rpartition(".")[2] for detail in answer["details"]]
    assert types == ["ErrorInfo", "BadRequest"]
    assert answer["details"][0]["reason"] == "TOO_LONG"
    assert answer["details"][1]["field_violations"][0]["field"] == "prompt"


async def test_a_model_may_have_a_slash_in_its_name(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    async def behave(call: Call, context: Context) -> AsyncIterator[bytes]:
        yield body(b'{"id": "x"}')

    mesh["router"].script(GET_MODEL, behave)
    for path in ("/v1/models/vendor/model", "/v1/models/vendor%2Fmodel"):
        async with http.get(URL(path, encoded=True)) as response:
            assert (response.status, await response.json()) == (200, {"id": "x"})
    asked = [openai_pb2.GetModelRequest.FromString(c.request) for c in mesh["router"].calls]
    assert [request.model for request in asked] == ["vendor/model"] * 2
