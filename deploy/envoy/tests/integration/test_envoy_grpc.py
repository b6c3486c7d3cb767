"""gRPC and gRPC-Web clients: passed through, with errors as they know them."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import grpc
import pytest
from google.api import httpbody_pb2
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh.governance.v1 import identity_pb2, identity_pb2_grpc, keys_pb2, keys_pb2_grpc
from infermesh.router.v1 import inference_pb2, inference_pb2_grpc
from infermesh_envoy.testing import Call, EnvoyProcess, ScriptedUpstream
from infermesh_envoy.testing.upstream import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/infermesh.router.v1.OpenAIService/CreateChatCompletion"
LIST_KEYS = "/infermesh.governance.v1.KeyService/ListKeys"
INFER = "/infermesh.router.v1.InferenceService/Infer"
INFER_STREAM = "/infermesh.router.v1.InferenceService/InferStream"
IDENTITIES = "/infermesh.governance.v1.IdentityService/WatchIdentities"
CACHE = "/infermesh.cache.v1.CacheService/"
Mesh = dict[str, ScriptedUpstream]


def channel_to(edge: EnvoyProcess) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}")


async def keys(call: Call, context: Context) -> AsyncIterator[bytes]:
    await context.send_initial_metadata((("x-infermesh-tier", "none"),))
    yield keys_pb2.ListKeysResponse(keys=[keys_pb2.Key(key_id="k")]).SerializeToString()


async def never(call: Call, context: Context) -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def test_a_call_passes_with_its_metadata(mesh: Mesh, edge: EnvoyProcess) -> None:
    mesh["governance"].script(LIST_KEYS, keys)
    sent = (("authorization", "Bearer k"), ("x-infermesh-role", "ROLE_OPERATOR"))
    async with channel_to(edge) as channel:
        stub = keys_pb2_grpc.KeyServiceStub(channel)
        call = stub.ListKeys(keys_pb2.ListKeysRequest(tenant="t"), metadata=sent)
        assert (await call).keys[0].key_id == "k"
        assert dict(await call.initial_metadata())["x-infermesh-tier"] == "none"
    received = mesh["governance"].calls[0]
    assert keys_pb2.ListKeysRequest.FromString(received.request).tenant == "t"
    assert received.values("authorization") == ["Bearer k"]
    assert received.values("x-infermesh-role") == []


async def test_an_error_keeps_its_details_and_its_trailers(mesh: Mesh, edge: EnvoyProcess) -> None:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="OVER", domain="infermesh.dev"))
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="o", details=[detail])
    trailers = (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("x-infermesh-error", "{}"),
        ("retry-after", "3"),
    )

    async def refuse(call: Call, context: Context) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "o", trailers)
        yield b""

    mesh["router"].script(INFER, refuse)
    async with channel_to(edge) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Infer(inference_pb2.InferRequest(prompt="p"))
    assert rpc_status.from_call(caught.value) == status
    received = dict(caught.value.trailing_metadata())
    assert (received["x-infermesh-error"], received["retry-after"]) == ("{}", "3")


async def test_a_stream_passes_message_by_message(mesh: Mesh, edge: EnvoyProcess) -> None:
    go_on = asyncio.Event()

    async def two(call: Call, context: Context) -> AsyncIterator[bytes]:
        yield inference_pb2.InferStreamResponse(content_delta="1").SerializeToString()
        await asyncio.wait_for(go_on.wait(), 10)
        yield inference_pb2.InferStreamResponse(content_delta="2").SerializeToString()

    mesh["router"].script(INFER_STREAM, two)
    deltas = []
    async with channel_to(edge) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        async for event in stub.InferStream(inference_pb2.InferStreamRequest()):
            deltas.append(event.content_delta)
            go_on.set()
    assert deltas == ["1", "2"]


async def test_what_is_internal_cannot_be_reached(mesh: Mesh, edge: EnvoyProcess) -> None:
    for method in ("Lookup", "Store", "RenewLease", "ReleaseLease"):
        mesh["cache"].script(CACHE + method, never)
    mesh["governance"].script(IDENTITIES, never)
    codes = []
    async with channel_to(edge) as channel:
        cache = cache_pb2_grpc.CacheServiceStub(channel)
        identities = identity_pb2_grpc.IdentityServiceStub(channel)
        watch = identities.WatchIdentities(identity_pb2.WatchIdentitiesRequest(), timeout=10)
        for answer in (
            cache.Lookup(cache_pb2.LookupRequest(), timeout=10),
            cache.Store(cache_pb2.StoreRequest(), timeout=10),
            cache.RenewLease(cache_pb2.RenewLeaseRequest(), timeout=10),
            cache.ReleaseLease(cache_pb2.ReleaseLeaseRequest(), timeout=10),
        ):
            codes.append(await answer.code())
        codes.append(await watch.code())
    assert codes == [grpc.StatusCode.UNIMPLEMENTED] * 5
    assert mesh["cache"].calls == mesh["governance"].calls == []


async def test_what_is_internal_has_no_way_in_over_http(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    mesh["cache"].script(CACHE + "Lookup", never)
    mesh["governance"].script(IDENTITIES, never)
    for path in (CACHE + "Lookup", IDENTITIES):
        for kind in ("application/json", "application/grpc", "application/grpc-web+proto"):
            headers = {"content-type": kind}
            async with http.post(path, data=b"\0\0\0\0\0", headers=headers) as response:
                refused = response.headers.get("grpc-status") == "12"
                assert response.status == 404 or refused, (path, kind)
    assert mesh["cache"].calls == mesh["governance"].calls == []


async def test_a_clients_shorter_deadline_is_the_services(mesh: Mesh, edge: EnvoyProcess) -> None:
    mesh["governance"].script(LIST_KEYS, keys)
    async with channel_to(edge) as channel:
        stub = keys_pb2_grpc.KeyServiceStub(channel)
        for timeout_s in (5, 500, None):
            await stub.ListKeys(keys_pb2.ListKeysRequest(), timeout=timeout_s)
    # Time remaining is rounded up on its way.
    for call, most_s in zip(mesh["governance"].calls, (5, 30, 30), strict=True):
        assert call.remaining_s is not None and 0 < call.remaining_s < most_s * 1.1


async def test_at_the_limit_a_grpc_client_learns_of_its_deadline(
    mesh: Mesh, start_edge: Callable[..., Awaitable[EnvoyProcess]]
) -> None:
    mesh["governance"].script(LIST_KEYS, never)
    edge = await start_edge(unary_timeout_s=0.3)
    async with channel_to(edge) as channel:
        stub = keys_pb2_grpc.KeyServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListKeys(keys_pb2.ListKeysRequest(), timeout=30)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_client_that_goes_away_cancels_the_call(
    mesh: Mesh, edge: EnvoyProcess, http: aiohttp.ClientSession
) -> None:
    async def stream(call: Call, context: Context) -> AsyncIterator[bytes]:
        data = httpbody_pb2.HttpBody(content_type="text/event-stream", data=b"data: 1\n\n")
        yield data.SerializeToString()
        await asyncio.Event().wait()

    mesh["router"].script(CHAT, stream)
    mesh["router"].script(INFER, never)
    response = await http.post("/v1/chat/completions", data=b"{}")
    assert await response.content.readexactly(9) == b"data: 1\n\n"
    response.close()
    await asyncio.wait_for(mesh["router"].calls[0].cancelled.wait(), 10)
    async with channel_to(edge) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Infer(inference_pb2.InferRequest(), timeout=0.3)
    await asyncio.wait_for(mesh["router"].calls[1].cancelled.wait(), 10)


async def test_grpc_web_gets_its_answer_and_its_trailers(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    mesh["governance"].script(LIST_KEYS, keys)
    message = keys_pb2.ListKeysRequest(tenant="t").SerializeToString()
    frame = struct.pack(">BI", 0, len(message)) + message
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    async with http.post(LIST_KEYS, data=frame, headers=headers) as response:
        assert response.status == 200
        assert response.headers["content-type"] == "application/grpc-web+proto"
        raw = await response.read()
    kind, size = struct.unpack(">BI", raw[:5])
    assert kind == 0
    answer = keys_pb2.ListKeysResponse.FromString(raw[5 : 5 + size])
    assert answer.keys[0].key_id == "k"
    kind, size = struct.unpack(">BI", raw[5 + size : 10 + size])
    assert kind == 0x80
    assert b"grpc-status:0" in raw[-size:].replace(b" ", b"")
    request = keys_pb2.ListKeysRequest.FromString(mesh["governance"].calls[0].request)
    assert request.tenant == "t"
