"""The edge with a certificate."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc
import pytest

from infermesh.governance.v1 import keys_pb2, keys_pb2_grpc
from infermesh_envoy.testing import Call, EnvoyProcess, ScriptedUpstream
from infermesh_envoy.testing.upstream import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIST_KEYS = "/infermesh.governance.v1.KeyService/ListKeys"
Mesh = dict[str, ScriptedUpstream]


async def keys(call: Call, context: Context) -> AsyncIterator[bytes]:
    yield keys_pb2.ListKeysResponse(keys=[keys_pb2.Key(key_id="k")]).SerializeToString()


async def test_rest_and_grpc_are_served_over_tls_and_nothing_in_clear(
    mesh: Mesh,
    certificate: tuple[Path, Path],
    start_edge: Callable[..., Awaitable[EnvoyProcess]],
) -> None:
    mesh["governance"].script(LIST_KEYS, keys)
    cert, key = certificate
    edge = await start_edge(tls_cert_path=str(cert), tls_key_path=str(key), sds_path="set later")
    trust = ssl.create_default_context(cafile=str(cert))
    async with aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{edge.port}/v1/keys"
        async with session.get(url, ssl=trust) as response:
            assert (await response.json())["keys"][0]["key_id"] == "k"
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{edge.port}/v1/keys")
    credentials = grpc.ssl_channel_credentials(cert.read_bytes())
    async with grpc.aio.secure_channel(f"127.0.0.1:{edge.port}", credentials) as channel:
        stub = keys_pb2_grpc.KeyServiceStub(channel)
        answer = await stub.ListKeys(keys_pb2.ListKeysRequest())
    assert answer.keys[0].key_id == "k"
    assert mesh["governance"].calls[0].values("x-forwarded-proto") == ["https"]
