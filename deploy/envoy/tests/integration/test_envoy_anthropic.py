"""Anthropic's wire: its errors, whoever makes them, and what its SDK sends besides a body."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import anthropic
import grpc
import pytest
from google.api import httpbody_pb2

from infermesh_common.testing.servers import eventually
from infermesh_envoy.testing import Behaviour, Call, EnvoyProcess, ScriptedUpstream
from infermesh_envoy.testing.upstream import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES = "/infermesh.router.v1.AnthropicService/CreateMessage"
REFUSE = "/infermesh.router.v1.AnthropicService/RefuseLargeMessage"
HARD_WORDS = 'say "hi" \\ to ü\\'
LIMIT = 20 * 2**20
Mesh = dict[str, ScriptedUpstream]
Start = Callable[..., Awaitable[EnvoyProcess]]
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


async def answering(call: Call, context: Context) -> AsyncIterator[bytes]:
    await context.send_initial_metadata((("x-infermesh-tier", "none"),))
    body = httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(ANSWER).encode())
    yield body.SerializeToString()


async def never(call: Call, context: Context) -> AsyncIterator[bytes]:
    await call.cancelled.wait()
    yield b""


def failing(
    code: grpc.StatusCode, *metadata: tuple[str, str], message: str = "no", late: bool = False
) -> Behaviour:
    async def behave(call: Call, context: Context) -> AsyncIterator[bytes]:
        if late:
            await context.send_initial_metadata((("x-infermesh-tier", "none"),))
        await context.abort(code, message, metadata)
        yield b""

    return behave


def client(edge: EnvoyProcess) -> anthropic.AsyncAnthropic:
    base = f"http://127.0.0.1:{edge.port}"
    return anthropic.AsyncAnthropic(base_url=base, api_key="im_a_b", max_retries=0)


async def ask(edge: EnvoyProcess, **more: object) -> anthropic.types.Message:
    async with client(edge) as sdk:
        return await sdk.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}], **more
        )


async def shaped(response: aiohttp.ClientResponse) -> tuple[int, str, str]:
    """Status, type and code of an answer that must have Anthropic's shape."""
    assert response.headers["content-type"] == "application/json"
    body = await response.json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error" and body["error"]["message"]
    assert body["request_id"] == response.headers["x-request-id"]
    code = body["error"].get("details", {}).get("error_code", "")
    return response.status, body["error"]["type"], code


async def test_the_key_and_the_ids_pass(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    mesh["router"].script(MESSAGES, answering)
    mine = str(uuid.uuid4())
    headers = {"x-api-key": "im_a_b", "x-request-id": mine, "anthropic-version": "2023-06-01"}
    async with http.post("/v1/messages", data=b"{}", headers=headers) as response:
        assert response.status == 200
        assert response.headers["request-id"] == response.headers["x-request-id"] == mine
        assert response.headers["x-infermesh-tier"] == "none"
    assert mesh["router"].calls[-1].values("x-api-key") == ["im_a_b"]


async def test_the_official_sdk_reads_the_answer_and_the_id(mesh: Mesh, edge: EnvoyProcess) -> None:
    mesh["router"].script(MESSAGES, answering)
    message = await ask(edge)
    assert message.content[0].text == "hi"
    assert uuid.UUID(message._request_id)


async def test_the_beta_interface_of_the_sdk_is_served_too(mesh: Mesh, edge: EnvoyProcess) -> None:
    mesh["router"].script(MESSAGES, answering)
    async with client(edge) as sdk:
        message = await sdk.beta.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    assert message.id == "msg_1"


@pytest.mark.parametrize("late", [False, True], ids=["trailers-only", "after-metadata"])
@pytest.mark.parametrize(
    ("code", "status", "exact", "exception"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400, None, anthropic.BadRequestError),
        (grpc.StatusCode.UNAUTHENTICATED, 401, None, anthropic.AuthenticationError),
        (grpc.StatusCode.NOT_FOUND, 404, None, anthropic.NotFoundError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, None, anthropic.RateLimitError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 529, "529", anthropic.OverloadedError),
        (grpc.StatusCode.UNAVAILABLE, 503, None, anthropic.ServiceUnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504, None, anthropic.GatewayTimeoutError),
    ],
)
async def test_an_error_of_the_router_raises_the_sdks_own_class(
    mesh: Mesh, edge: EnvoyProcess, code, status, exact, exception, late
) -> None:
    error = {"type": "error", "error": {"type": "t", "message": "no"}, "request_id": "r"}
    metadata = [("x-infermesh-error", json.dumps(error)), ("retry-after", "3")]
    metadata += [("x-infermesh-status", exact)] if exact else []
    mesh["router"].script(MESSAGES, failing(code, *metadata, late=late))
    with pytest.raises(exception) as caught:
        await ask(edge)
    assert (caught.value.status_code, caught.value.body) == (status, error)
    headers = caught.value.response.headers
    assert headers["retry-after"] == "3" and uuid.UUID(headers["request-id"])
    assert "x-infermesh-error" not in headers and "x-infermesh-status" not in headers


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limit_error"),
        (grpc.StatusCode.INVALID_ARGUMENT, 400, "invalid_request_error"),
        (grpc.StatusCode.INTERNAL, 500, "api_error"),
    ],
)
async def test_an_error_of_grpc_itself_is_given_the_shape(
    mesh: Mesh, http: aiohttp.ClientSession, code: grpc.StatusCode, status: int, kind: str
) -> None:
    mesh["router"].script(MESSAGES, failing(code, message=HARD_WORDS))
    async with http.post("/v1/messages", data=b"{}") as response:
        assert await shaped(response) == (status, kind, "")
        assert (await response.json())["error"]["message"] == HARD_WORDS


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/messages", 404, "not_found"),
        ("POST", "/v1/messages/count_tokens", 404, "not_found"),
        ("POST", "/v1/messages/batches", 404, "not_found"),
        ("POST", "/v1/messages?nonsense=1", 400, "bad_request"),
    ],
)
async def test_what_is_not_served_is_an_error_in_the_shape(
    mesh: Mesh, http: aiohttp.ClientSession, method: str, path: str, status: int, code: str
) -> None:
    async with http.request(method, path, data=b"{}") as response:
        kind = "not_found_error" if status == 404 else "invalid_request_error"
        assert await shaped(response) == (status, kind, code)
    assert mesh["router"].calls == []


async def test_a_body_above_the_limit_is_read_to_its_end_and_refused(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    error = {"type": "error", "error": {"type": "request_too_large", "message": "large"}}
    metadata = (("x-infermesh-error", json.dumps(error)), ("x-infermesh-status", "413"))
    refuse = failing(grpc.StatusCode.INVALID_ARGUMENT, *metadata)
    mesh["router"].script(REFUSE, refuse, streamed_request=True)
    async with http.post("/v1/messages", data=b"x" * (LIMIT + 1)) as response:
        assert (response.status, await response.json()) == (413, error)
        assert response.headers["request-id"] == response.headers["x-request-id"]
    (call,) = mesh["router"].calls
    assert len(call.request) > LIMIT


async def test_a_huge_body_is_refused_at_once(mesh: Mesh, start_edge: Start) -> None:
    edge = await start_edge(max_request_bytes=1000)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        async with session.post("/v1/messages", data=b"x" * 9000) as response:
            assert await shaped(response) == (413, "request_too_large", "request_too_large")
    assert mesh["router"].calls == []


async def test_an_answer_that_takes_too_long_is_an_error_in_the_shape(
    mesh: Mesh, start_edge: Start
) -> None:
    mesh["router"].script(MESSAGES, never)
    edge = await start_edge(stream_max_duration_s=0.3)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        async with session.post("/v1/messages", data=b"{}") as response:
            assert await shaped(response) == (504, "timeout_error", "timeout")


async def test_a_mesh_that_is_down_is_unavailable(start_edge: Start) -> None:
    edge = await start_edge(router_port=1)
    with pytest.raises(anthropic.ServiceUnavailableError) as caught:
        await ask(edge)
    assert caught.value.body["error"]["details"] == {"error_code": "upstream_unavailable"}
    assert caught.value.response.headers["retry-after"] == "1"


async def test_too_much_under_way_is_an_overload(mesh: Mesh, start_edge: Start) -> None:
    mesh["router"].script(MESSAGES, never)
    edge = await start_edge(max_upstream_requests=1)
    first = asyncio.create_task(ask(edge))
    await eventually(lambda: len(mesh["router"].calls) == 1, what="the first request is under way")
    with pytest.raises(anthropic.OverloadedError) as caught:
        await ask(edge)
    assert caught.value.body["error"]["type"] == "overloaded_error"
    assert caught.value.response.headers["retry-after"] == "1"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
