"""The service follows custom resources, and says in their status what became of them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from infermesh_common.errors import Unavailable
from infermesh_common.kubernetes.testing.api_server import FakeApiServer
from infermesh_common.testing.identity import new_api_key
from infermesh_common.testing.resources import resource
from infermesh_common.testing.servers import RedisServer, eventually, free_port
from infermesh_governance.testing import Deployment, Replica


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        yield server


@asynccontextmanager
async def _replica(
    mesh: Deployment, redis: RedisServer, api: FakeApiServer
) -> AsyncIterator[Replica]:
    """A process whose resources are those of the namespace "mesh"."""
    port, metrics_port = free_port(), free_port()
    mesh.settings(
        redis,
        resources_dir=None,
        resources_namespace="mesh",
        secret_poll_ms=50,
        server={
            "listen_address": f"127.0.0.1:{port}",
            "metrics_address": f"127.0.0.1:{metrics_port}",
        },
    )
    way = {
        "INFERMESH_CONFIG": str(mesh.folder / "governance.yaml"),
        "KUBECONFIG": str(api.kubeconfig(mesh.folder)),
    }
    with (mesh.folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infermesh_governance"),
            env=os.environ | way,
            stdout=log,
            stderr=log,
        )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Replica(channel, f"127.0.0.1:{port}", metrics_port)
    finally:
        process.terminate()
        await process.wait()


def _ready(api: FakeApiServer, plural: str, name: str) -> str:
    """The reason of the condition Ready."""
    conditions: list[dict[str, Any]] = (api.get(plural, name).get("status") or {}).get(
        "conditions", []
    )
    return "".join(str(each["reason"]) for each in conditions if each["type"] == "Ready")


async def test_custom_resources_are_in_force_and_have_a_status(
    mesh: Deployment, redis_server: RedisServer, api: FakeApiServer
) -> None:
    key_file, key = mesh.folder / "ci-key", new_api_key()[1]
    spec = {"tenant": "acme", "secretRef": {"file": str(key_file)}}
    api.put("routepolicies", resource("RoutePolicy", "default"))
    api.put("cachepolicies", resource("CachePolicy", "default"))
    api.put("tenants", resource("Tenant", "acme"))
    api.put("apikeys", resource("ApiKey", "ci", **spec))
    async with _replica(mesh, redis_server, api) as replica:
        await eventually(lambda: _ready(api, "tenants", "acme") == "Ready", within_s=60)
        await eventually(lambda: _ready(api, "apikeys", "ci") == "SecretMissing")
        key_file.write_text(key)
        await eventually(lambda: replica.admits(key))
        await eventually(lambda: _ready(api, "apikeys", "ci") == "Ready")
        api.put("tenants", resource("Tenant", "acme", suspended=True))
        await eventually(lambda: _ready(api, "tenants", "acme") == "Suspended")
        assert not await replica.admits(key)
    assert api.get("leases", "infermesh-governance")["spec"]["holderIdentity"] == ""


async def test_no_caller_is_refused_for_a_resource_that_could_not_be_read_yet(
    mesh: Deployment, redis_server: RedisServer, api: FakeApiServer
) -> None:
    api.put("routepolicies", resource("RoutePolicy", "default"))
    api.put("cachepolicies", resource("CachePolicy", "default"))
    api.put("tenants", resource("Tenant", "acme"))
    api.stop()
    async with _replica(mesh, redis_server, api) as replica:

        async def says_it_does_not_know() -> bool:
            with pytest.raises(Unavailable) as caught:
                await replica.create(mesh.operator_key, "acme")
            return caught.value.reason == "IDENTITY_SNAPSHOT_STALE"

        await eventually(says_it_does_not_know, within_s=60)
        api.start()
        await eventually(lambda: replica.admits(mesh.operator_key), within_s=60)
        issued = await replica.create(mesh.operator_key, "acme")
        api.stop()
        assert await replica.admits(issued)
