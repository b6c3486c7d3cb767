"""The service follows custom resources, and says in their status whether they work."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from infermesh_common.kubernetes.testing.api_server import FakeApiServer
from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.settings import settings_for
from infermesh_router.settings import RouterSettings


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        yield server


@asynccontextmanager
async def _router(folder: Path, redis: RedisServer, api: FakeApiServer) -> AsyncIterator[None]:
    """A process whose resources are those of the namespace "mesh"."""
    settings_for(
        RouterSettings, "router", folder, redis, resources_dir=None, resources_namespace="mesh"
    )
    way = {
        "INFERMESH_CONFIG": str(folder / "router.yaml"),
        "KUBECONFIG": str(api.kubeconfig(folder)),
    }
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infermesh_router"),
            env=os.environ | way,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


def _ready(api: FakeApiServer, plural: str, name: str) -> str:
    """The reason of the condition Ready."""
    conditions = (api.get(plural, name).get("status") or {}).get("conditions", [])
    return "".join(str(each["reason"]) for each in conditions if each["type"] == "Ready")


async def test_what_works_and_what_does_not_stands_in_the_status(
    tmp_path: Path, redis_server: RedisServer, api: FakeApiServer
) -> None:
    key = tmp_path / "key"
    spec = {"baseUrl": "https://provider.test/v1", "auth": {"file": str(key)}}
    api.put("providers", resource("Provider", "main", **spec))
    api.put("models", model("m"))
    api.put("routepolicies", resource("RoutePolicy", "default"))
    api.put("cachepolicies", resource("CachePolicy", "default"))
    async with _router(tmp_path, redis_server, api):
        await eventually(lambda: _ready(api, "providers", "main") == "SecretMissing", within_s=60)
        await eventually(lambda: _ready(api, "models", "m") == "ProviderNotReady")
        await eventually(lambda: _ready(api, "routepolicies", "default") == "NoModelReady")
        await eventually(lambda: _ready(api, "cachepolicies", "default") == "Ready")
        key.write_text("sk-key")
        await eventually(lambda: _ready(api, "routepolicies", "default") == "Ready")
    assert _ready(api, "providers", "main") == _ready(api, "models", "m") == "Ready"
    assert api.get("leases", "infermesh-router")["spec"]["holderIdentity"] == ""
