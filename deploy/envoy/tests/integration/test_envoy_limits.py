"""Sizes and times that are limited, and what a client is told at the limit."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import grpc
import pytest
from google.api import httpbody_pb2

from infermesh.router.v1 import inference_pb2
from infermesh_envoy.testing import Call, EnvoyProcess, ScriptedUpstream
from infermesh_envoy.testing.upstream import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/infermesh.router.v1.OpenAIService/CreateChatCompletion"
EMBED = "/infermesh.router.v1.OpenAIService/CreateEmbedding"
INFER = "/infermesh.router.v1.InferenceService/Infer"
LIST_KEYS = "/infermesh.governance.v1.KeyService/ListKeys"
LIMIT = 20 * 2**20
REFUSE = "/infermesh.router.v1.OpenAIService/RefuseLargeBody"
PIECE = b"x" * 65536
Mesh = dict[str, ScriptedUpstream]
Start = Callable[..., Awaitable[EnvoyProcess]]


def body(data: bytes, content_type: str = "application/json") -> bytes:
    message: bytes = httpbody_pb2.HttpBody(content_type=content_type, data=data).SerializeToString()
    return message


async def length(call: Call, context: Context) -> AsyncIterator[bytes]:
    yield body(b"%d" % len(httpbody_pb2.HttpBody.FromString(call.request).data))


async def forever(call: Call, context: Context) -> AsyncIterator[bytes]:
    yield body(b"data: 1\n\n", "text/event-stream")
    await asyncio.Event().wait()


async def never(call: Call, context: Context) -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def pieces(total: int) -> AsyncIterator[bytes]:
    for start in range(0, total, len(PIECE)):
        yield PIECE[: total - start]


def session_of(edge: EnvoyProcess) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=30)
    return aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}", timeout=timeout)


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str, str]:
    """Status, type and code of an answer that must have OpenAI's shape."""
    assert response.headers["content-type"] == "application/json"
    answer = await response.json()
    assert list(answer) == ["error"]
    error = answer["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] is None and error["message"]
    return response.status, error["type"], error["code"]


async def upload(edge: EnvoyProcess, head: bytes, pieces_to_send: AsyncIterator[bytes]) -> bytes:
    """Sends a request as curl does, reading while it writes; the answer, whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)

    async def send() -> None:
        # Once the server has heard enough, what it said is with the reader.
        with contextlib.suppress(ConnectionError):
            async for piece in pieces_to_send:
                writer.write(piece)
                await writer.drain()

    writer.write(head)
    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(20):
            raw = await reader.readuntil(b"\r\n\r\n")
            if raw.startswith(b"HTTP/1.1 100"):
                raw = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in raw.lower().split(b"\r\n") if b"content-length" in line]
            return raw + await reader.readexactly(int(lengths[0].partition(b":")[2]))
    finally:
        sending.cancel()
        writer.close()


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_body_at_the_limit_arrives_whole(
    mesh: Mesh, http: aiohttp.ClientSession, chunked: bool
) -> None:
    mesh["router"].script(CHAT, length)
    data = pieces(LIMIT) if chunked else b"x" * LIMIT
    async with http.post("/v1/chat/completions", data=data) as response:
        assert (response.status, await response.read()) == (200, b"%d" % LIMIT)


async def test_a_typed_body_near_the_limit_arrives_whole(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    async def answer(call: Call, context: Context) -> AsyncIterator[bytes]:
        request = inference_pb2.InferRequest.FromString(call.request)
        reply = inference_pb2.Message(content=request.prompt)
        yield inference_pb2.InferResponse(message=reply).SerializeToString()

    mesh["router"].script(INFER, answer)
    prompt = "p" * (LIMIT - 1024)
    async with http.post("/infer", json={"prompt": prompt}) as response:
        assert response.status == 200
        assert (await response.json())["message"]["content"] == prompt


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/infer", "/v1/keys"])
async def test_a_body_above_the_limit_is_read_to_its_end_and_refused(
    mesh: Mesh, http: aiohttp.ClientSession, size: int, path: str
) -> None:
    async def refuse(call: Call, context: Context) -> AsyncIterator[bytes]:
        inner = {
            "message": "large",
            "type": "invalid_request_error",
            "param": None,
            "code": "large",
        }
        body = {"error": inner}
        trailers = (("x-infermesh-error", json.dumps(body)), ("x-infermesh-status", "413"))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "large", trailers)
        yield b""

    mesh["router"].script(REFUSE, refuse, streamed_request=True)
    async with http.post(path, data=b"x" * size) as response:
        error = await error_of(response)
    assert error == (413, "invalid_request_error", "large")
    (call,) = mesh["router"].calls
    assert len(call.request) >= size


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 524288000\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n",
    ],
    ids=["content-length", "chunked"],
)
async def test_a_huge_upload_is_refused_before_it_is_sent(
    mesh: Mesh, edge: EnvoyProcess, head: bytes
) -> None:
    mesh["router"].script(CHAT, length)
    sent = 0

    async def huge() -> AsyncIterator[bytes]:
        nonlocal sent
        async for piece in pieces(50 * 2**20):
            yield b"10000\r\n" + piece + b"\r\n" if b"chunked" in head else piece
            sent += len(piece)

    start = b"POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\n"
    raw = await upload(edge, start + head, huge())
    top, _, payload = raw.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 413 ")
    assert json.loads(payload)["error"]["code"] == "request_too_large"
    assert sent < 50 * 2**20
    assert mesh["router"].calls == []


async def test_too_many_headers_are_refused(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/models", headers={"x-big": "y" * 70_000}) as response:
        error = await error_of(response)
    assert error == (431, "invalid_request_error", "headers_too_large")


async def test_a_request_that_does_not_arrive_is_given_up(mesh: Mesh, start_edge: Start) -> None:
    mesh["router"].script(CHAT, never)
    edge = await start_edge(request_receive_timeout_s=0.2)

    async def nothing() -> AsyncIterator[bytes]:
        yield b"{"

    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\ncontent-length: 9\r\n\r\n"
    raw = await upload(edge, head, nothing())
    top, _, payload = raw.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 408 ")
    assert json.loads(payload)["error"]["code"] == "timeout"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nowhere", "not_found"),
        ("POST", "/v1/models", "not_found"),
        ("GET", "/v1/keys/a/b/c", "not_found"),
        ("GET", "/v1/keys?nonsense=1", "bad_request"),
    ],
)
async def test_what_nobody_serves_is_an_error_in_the_shape(
    http: aiohttp.ClientSession, method: str, path: str, code: str
) -> None:
    async with http.request(method, path) as response:
        status, kind, got = await error_of(response)
    assert (kind, got) == ("invalid_request_error", code)
    assert status == (400 if code == "bad_request" else 404)


async def test_broken_json_is_the_clients_fault(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    async with http.post("/infer", data=b'{"prompt": "unterm') as response:
        assert await error_of(response) == (400, "invalid_request_error", "bad_request")
    assert mesh["router"].calls == []


async def test_a_paths_detours_lead_nowhere_new(http: aiohttp.ClientSession) -> None:
    detour = "/v1//keys/../../infermesh.cache.v1.CacheService/Lookup"
    headers = {"content-type": "application/json"}
    async with http.post(detour, data=b"{}", headers=headers) as response:
        assert (await error_of(response))[0] == 404


async def test_an_answer_too_large_to_hold_is_an_error(mesh: Mesh, start_edge: Start) -> None:
    async def large(call: Call, context: Context) -> AsyncIterator[bytes]:
        reply = inference_pb2.Message(content="x" * 300_000)
        yield inference_pb2.InferResponse(message=reply).SerializeToString()

    mesh["router"].script(INFER, large)
    edge = await start_edge(max_response_bytes=200_000)
    async with session_of(edge) as session:
        async with session.post("/infer", json={"prompt": "p"}) as response:
            assert await error_of(response) == (500, "server_error", "edge_error")


async def test_a_stream_outlives_the_timeout_of_single_answers(
    mesh: Mesh, start_edge: Start
) -> None:
    finish = asyncio.Event()

    async def slow(call: Call, context: Context) -> AsyncIterator[bytes]:
        yield body(b"data: 1\n\n", "text/event-stream")
        await asyncio.wait_for(finish.wait(), 20)
        yield body(b"data: [DONE]\n\n", "text/event-stream")

    mesh["router"].script(CHAT, slow)
    mesh["governance"].script(LIST_KEYS, never)
    edge = await start_edge(unary_timeout_s=0.2, stream_max_duration_s=60)
    async with session_of(edge) as session:
        async with session.post("/v1/chat/completions", data=b"{}") as stream:
            assert await stream.content.readexactly(9) == b"data: 1\n\n"
            # Takes as long as a single answer may, and so lies wholly within the stream.
            async with session.get("/v1/keys") as single:
                assert single.status == 504
            finish.set()
            assert await stream.content.read() == b"data: [DONE]\n\n"


async def test_a_stream_past_its_longest_duration_is_visibly_cut(
    mesh: Mesh, start_edge: Start
) -> None:
    mesh["router"].script(CHAT, forever)
    mesh["router"].script(EMBED, never)
    edge = await start_edge(stream_max_duration_s=0.5)
    async with session_of(edge) as session:
        async with session.post("/v1/chat/completions", data=b"{}") as response:
            assert await response.content.readexactly(9) == b"data: 1\n\n"
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
        async with session.post("/v1/embeddings", data=b"{}") as response:
            assert await error_of(response) == (504, "server_error", "timeout")
    for call in mesh["router"].calls:
        await asyncio.wait_for(call.cancelled.wait(), 10)


async def test_silence_for_too_long_ends_a_request(mesh: Mesh, start_edge: Start) -> None:
    mesh["router"].script(CHAT, never)
    edge = await start_edge(stream_idle_timeout_s=0.3)
    async with session_of(edge) as session:
        async with session.post("/v1/chat/completions", data=b"{}") as response:
            assert await error_of(response) == (504, "server_error", "timeout")
