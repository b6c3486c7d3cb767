"""What a client may say in headers, what the services get of it, and what is logged."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from infermesh.governance.v1 import keys_pb2
from infermesh_common.testing.servers import eventually
from infermesh_envoy.testing import Call, EnvoyProcess, ScriptedUpstream
from infermesh_envoy.testing.upstream import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIST_KEYS = "/infermesh.governance.v1.KeyService/ListKeys"
IDENTITY = ("tenant", "key-id", "role", "subject", "internal-token")
Mesh = dict[str, ScriptedUpstream]


async def keys(call: Call, context: Context) -> AsyncIterator[bytes]:
    yield keys_pb2.ListKeysResponse(keys=[keys_pb2.Key(key_id="k")]).SerializeToString()


async def ask(
    mesh: Mesh, http: aiohttp.ClientSession, headers: dict[str, str], path: str = "/v1/keys"
) -> Call:
    """Sends a request with these headers; the call that governance got."""
    mesh["governance"].script(LIST_KEYS, keys)
    async with http.get(path, headers=headers) as response:
        assert response.status == 200
    return mesh["governance"].calls[-1]


async def test_forged_identity_is_stripped_and_a_claim_is_kept_apart(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    forged = {f"x-infermesh-{name}": f"forged-{name}" for name in IDENTITY}
    call = await ask(mesh, http, {**forged, "x-infermesh-claimed-tenant": "other"})
    assert not [name for name, _ in call.metadata if name in forged]
    assert call.values("x-infermesh-claimed-tenant") == ["forged-tenant"]


async def test_a_claim_that_was_not_made_cannot_be_forged(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    call = await ask(mesh, http, {"x-infermesh-claimed-tenant": "other"})
    assert call.values("x-infermesh-claimed-tenant") == []


async def test_controls_and_credentials_pass(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    passed = {
        "authorization": "Bearer im_a_b",
        "x-api-key": "im_c_d",
        "x-infermesh-cache": "refresh, max-age=60",
        "x-infermesh-tags": "team=search",
        "x-infermesh-task": "code",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    call = await ask(mesh, http, passed)
    assert {name: call.values(name) for name in passed} == {k: [v] for k, v in passed.items()}


async def test_envoys_own_headers_are_not_for_clients(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    controls = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "5",
        "x-envoy-original-path": "/forged",
    }
    call = await ask(mesh, http, controls)
    # Envoy says so of clients whose controls it obeys.
    assert call.values("x-envoy-internal") == []
    assert call.values("x-envoy-retry-on") == call.values("x-envoy-max-retries") == []
    assert call.values("x-envoy-original-path") == ["/v1/keys"]


async def test_a_clients_uuid_is_the_request_id_everywhere(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    mine = str(uuid.uuid4())
    mesh["governance"].script(LIST_KEYS, keys)
    async with http.get("/v1/keys", headers={"x-request-id": mine}) as response:
        assert response.headers.getall("x-request-id") == [mine]
    assert mesh["governance"].calls[-1].values("x-request-id") == [mine]


@pytest.mark.parametrize("claimed", [None, "abc", f"{uuid.UUID(int=1)}x", "a" * 36, ""])
async def test_anything_else_is_replaced_by_a_fresh_uuid(
    mesh: Mesh, http: aiohttp.ClientSession, claimed: str | None
) -> None:
    headers = {} if claimed is None else {"x-request-id": claimed}
    mesh["governance"].script(LIST_KEYS, keys)
    async with http.get("/v1/keys", headers=headers) as response:
        (given,) = response.headers.getall("x-request-id")
    assert str(uuid.UUID(given)) == given != claimed
    assert uuid.UUID(given).version == 4
    assert mesh["governance"].calls[-1].values("x-request-id") == [given]


async def test_a_local_reply_carries_the_request_id_too(http: aiohttp.ClientSession) -> None:
    mine = str(uuid.uuid4())
    async with http.get("/nowhere", headers={"x-request-id": mine}) as response:
        assert response.headers["x-request-id"] == mine


async def test_the_service_is_told_its_deadline_whatever_the_client_says(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    call = await ask(mesh, http, {"grpc-timeout": "1H"})
    assert call.remaining_s is not None and 0 < call.remaining_s < 33


async def test_the_server_tells_only_its_product(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    mesh["governance"].script(LIST_KEYS, keys)
    async with http.get("/v1/keys") as response:
        assert response.headers["server"] == "infermesh"
        assert not [name for name in response.headers if name.lower().startswith("x-envoy")]
        assert "grpc-accept-encoding" not in response.headers


async def test_json_has_the_names_and_every_field_of_the_contracts(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    mesh["governance"].script(LIST_KEYS, keys)
    async with http.get("/v1/keys", params={"page.page_size": "7", "tenant": "a b"}) as response:
        (key,) = (await response.json())["keys"]
    assert key == {
        "key_id": "k",
        "tenant": "",
        "role": "ROLE_UNSPECIFIED",
        "description": "",
        "team": "",
    }
    request = keys_pb2.ListKeysRequest.FromString(mesh["governance"].calls[-1].request)
    assert (request.page.page_size, request.tenant) == (7, "a b")


async def test_the_proxies_in_front_are_believed_as_far_as_they_are_known(
    mesh: Mesh, start_edge: Callable[..., Awaitable[EnvoyProcess]]
) -> None:
    mesh["governance"].script(LIST_KEYS, keys)
    edge = await start_edge(xff_trusted_hops=1)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        headers = {"x-forwarded-for": "203.0.113.1, 203.0.113.2"}
        async with session.get("/v1/keys", headers=headers) as response:
            assert response.status == 200
    await eventually(lambda: edge.access_log.read_text().endswith("\n"), what="access log")
    assert json.loads(edge.access_log.read_text())["client"] == "203.0.113.2"


async def test_a_request_leaves_one_line_without_secrets(
    mesh: Mesh, http: aiohttp.ClientSession, edge: EnvoyProcess
) -> None:
    mine = str(uuid.uuid4())
    headers = {"x-request-id": mine, "authorization": "Bearer im_very_secret"}
    await ask(mesh, http, headers, path="/v1/keys?tenant=hidden")

    def lines() -> list[str]:
        return [line for line in edge.access_log.read_text().splitlines() if mine in line]

    await eventually(lambda: len(lines()) == 1, what="access log")
    assert "secret" not in lines()[0] and "hidden" not in lines()[0]
    entry = json.loads(lines()[0])
    expected = {
        "method": "GET",
        "path": "/v1/keys",
        "status": 200,
        "grpc_status": "0",
        "request_id": mine,
        "upstream_cluster": "governance",
        "response_flags": "-",
        "client": "127.0.0.1",
    }
    assert {name: entry[name] for name in expected} == expected
    assert entry["bytes_sent"] > 0 and entry["duration_ms"] >= 0
