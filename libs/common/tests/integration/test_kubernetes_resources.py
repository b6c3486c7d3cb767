"""Custom resources are in force as files are, and stay so while the API server is away."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infermesh_common.kubernetes.informer import Timing
from infermesh_common.kubernetes.testing.api_server import FakeApiServer
from infermesh_common.kubernetes.testing.wire import ApiError
from infermesh_common.resources.factory import resource_store
from infermesh_common.resources.kubernetes_store import KubernetesResourceStore
from infermesh_common.resources.resource_set import ResourceSet
from infermesh_common.resources.store import ResourceStore
from infermesh_common.settings import CommonSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.settings import settings_for

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Running = Callable[..., AbstractAsyncContextManager[list[asyncio.Task[None]]]]
QUICK = Timing(connect_s=1, list_s=1, watch_s=20, first_delay_s=0.01, longest_delay_s=0.05)
Document = dict[str, Any]


def declare(api: FakeApiServer, *documents: Document) -> None:
    plurals = {"RoutePolicy": "routepolicies", "CachePolicy": "cachepolicies"}
    for document in documents:
        kind = document["kind"]
        api.put(plurals.get(kind, f"{kind.lower()}s"), document)


def mesh(price: str = "1") -> list[Document]:
    """One resource of each kind that is needed, each naming another."""
    return [
        resource("Provider", "main", baseUrl="https://provider.test/v1"),
        model("m", price=price),
        resource("RoutePolicy", "default", models=["m"]),
        resource("CachePolicy", "default"),
        resource("Tenant", "acme", allowedModels=["m"]),
        resource("ApiKey", "ci", tenant="acme", secretRef={"file": "/run/key"}),
    ]


@pytest.fixture
def store(api_client: "ApiClient", metrics: Metrics) -> KubernetesResourceStore:
    return KubernetesResourceStore(api_client, "mesh", metrics, timing=QUICK)


def revisions(metrics: Metrics) -> list[str]:
    found = metrics.registry.collect()
    (gauge,) = [family for family in found if family.name == "infermesh_resources_revision"]
    return [sample.labels["revision"] for sample in gauge.samples if sample.value == 1]


async def test_what_is_declared_is_in_force_and_changes_come_by_themselves(
    api: FakeApiServer, store: KubernetesResourceStore, running: Running, metrics: Metrics
) -> None:
    declare(api, *mesh())
    heard: list[ResourceSet] = []
    store.subscribe(heard.append)
    store.load()
    assert not await store.is_loaded()
    async with running(store.watch()):
        await store.wait_until_loaded()
        assert len(store.current.by_key) == 6 and not store.current.faults
        assert [len(seen.by_key) for seen in heard] == [0, 6], "in force as a whole, at once"
        first = store.current.revision
        assert revisions(metrics) == [first]
        declare(api, *mesh(price="2"))
        await eventually(lambda: store.current.revision != first)
        assert revisions(metrics) == [store.current.revision]
        api.delete("apikeys", "ci")
        await eventually(lambda: not store.current.api_keys)
    assert len(heard) == 4


async def test_nothing_is_in_force_before_every_kind_was_listed(
    api: FakeApiServer, store: KubernetesResourceStore, running: Running
) -> None:
    declare(api, *mesh())
    api.refuse = lambda request: (
        ApiError(403, "Forbidden") if request.path.endswith("/models") else None
    )
    async with running(store.watch()):
        await eventually(lambda: api.lists("models") >= 3)
        assert not store.loaded and not store.current.by_key
        api.refuse = lambda request: None
        await eventually(lambda: len(store.current.by_key) == 6)


async def test_what_was_in_force_stays_while_the_api_server_is_away(
    api: FakeApiServer, store: KubernetesResourceStore, running: Running, metrics: Metrics
) -> None:
    declare(api, *mesh())
    labels = {"source": "tenants"}
    async with running(store.watch()):
        await store.wait_until_loaded()
        before = store.current
        api.stop()
        await eventually(
            lambda: metrics.sample("infermesh_kubernetes_watch_failures_total", labels) > 2
        )
        assert store.current is before and await store.is_loaded()
        declare(api, resource("Tenant", "beta"))
        api.start()
        await eventually(lambda: "beta" in store.current.tenants)


async def test_an_invalid_version_leaves_the_valid_one_in_force(
    api: FakeApiServer, store: KubernetesResourceStore, running: Running, metrics: Metrics
) -> None:
    declare(api, *mesh())
    async with running(store.watch()):
        await store.wait_until_loaded()
        declare(api, resource("CachePolicy", "default", ttlSeconds=-1))
        await eventually(lambda: bool(store.current.faults))
        (fault,) = store.current.faults
        assert (fault.where, fault.reason) == ("CachePolicy default", "Invalid")
        assert store.current.cache_policies["default"].spec.ttl_seconds == 86_400
        assert metrics.sample("infermesh_resources_invalid") == 1
        declare(api, resource("CachePolicy", "default", ttlSeconds=7))
        await eventually(lambda: not store.current.faults)
        assert store.current.cache_policies["default"].spec.ttl_seconds == 7


async def test_a_resource_that_names_a_missing_one_is_refused_by_name(
    api: FakeApiServer, store: KubernetesResourceStore, running: Running
) -> None:
    declare(api, *mesh(), model("lost", provider="nobody"))
    async with running(store.watch()):
        await store.wait_until_loaded()
        (fault,) = store.current.faults
        assert (fault.where, fault.reason) == ("Model lost", "ReferenceNotFound")
        assert "Provider nobody" in fault.message


async def test_a_status_is_nothing_new(
    api: FakeApiServer, store: KubernetesResourceStore, running: Running
) -> None:
    declare(api, *mesh())
    looked: list[str] = []
    store.after_load(lambda: looked.append(store.current.revision))
    async with running(store.watch()):
        await store.wait_until_loaded()
        before, looks = store.current, len(looked)
        api.put_status("tenants", "acme", {"observedGeneration": 1})
        await eventually(lambda: len(looked) > looks)
        assert store.current is before
        assert store.objects("Tenant")["acme"]["status"] == {"observedGeneration": 1}


async def test_a_listener_that_fails_is_counted_and_does_not_end_the_watch(
    api: FakeApiServer, store: KubernetesResourceStore, running: Running, metrics: Metrics
) -> None:
    def fail(resources: ResourceSet) -> None:
        if resources.by_key:
            raise LookupError

    store.subscribe(fail)
    async with running(store.watch()):
        declare(api, resource("Tenant", "acme"))
        await eventually(
            lambda: metrics.sample("infermesh_resource_reload_failures_total") >= 1
            or bool(store.current.faults)
        )
        declare(api, *mesh())
        await eventually(lambda: len(store.current.by_key) == 6)


class ProbeSettings(CommonSettings):
    greeting: str
    limits: dict[str, int]


_CHOOSE = """
import sys
from infermesh_common.resources.factory import resource_store
from infermesh_common.settings import CommonSettings
from infermesh_common.telemetry.metrics import Metrics
settings = CommonSettings.model_validate_json(sys.stdin.read())
store = resource_store(settings, Metrics())
print(type(store).__name__, store.namespace, store.client.configuration.host)
"""


def test_settings_choose_where_resources_come_from(
    api: FakeApiServer,
    tmp_path: Path,
    redis_server: RedisServer,
    metrics: Metrics,
    probe_packages: Path,
) -> None:
    settings = settings_for(ProbeSettings, "probe", tmp_path, redis_server)
    assert isinstance(resource_store(settings, metrics), ResourceStore)
    common = settings.model_dump(mode="json", exclude={"greeting", "limits"})
    chosen = subprocess.run(
        [sys.executable, "-c", _CHOOSE],
        input=json.dumps({**common, "resources_dir": None, "resources_namespace": "mesh"}),
        env={"KUBECONFIG": str(api.kubeconfig(tmp_path)), "PATH": ""},
        capture_output=True,
        text=True,
    )
    said = f"KubernetesResourceStore mesh http://127.0.0.1:{api.port}"
    assert chosen.stdout.strip() == said, chosen.stderr
