"""Resources, status, leadership and Secrets with a real API server."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from infermesh_common.kubernetes.client import one_secret
from infermesh_common.kubernetes.informer import Informer
from infermesh_common.kubernetes.lease import Leadership, LeaseTiming
from infermesh_common.kubernetes.status import Readiness, report_status
from infermesh_common.resources.declaration import plural
from infermesh_common.resources.kubernetes_store import KubernetesResourceStore
from infermesh_common.resources.types import API_VERSION, Resource
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.servers import eventually

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Running = Callable[..., AbstractAsyncContextManager[list[asyncio.Task[None]]]]
Document = dict[str, Any]
QUICK = LeaseTiming(lasts_s=2, renew_within_s=1, retry_s=0.1)


class Kubectl:
    """What an operator does."""

    def __init__(self, client: "ApiClient", namespace: str) -> None:
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self.core: Any = CoreV1Api(client)
        self._api: Any = CustomObjectsApi(client)
        self.namespace = namespace
        self._applied: list[tuple[str, str]] = []

    def _where(self, kind: str) -> tuple[str, str, str, str]:
        group, _, version = API_VERSION.partition("/")
        return group, version, self.namespace, plural(kind)

    async def apply(self, *documents: Document) -> None:
        for document in documents:
            kind, name = document["kind"], document["metadata"]["name"]
            call = partial(
                self._api.patch_namespaced_custom_object,
                *self._where(kind),
                name,
                document,
                field_manager="tests",
                force=True,
                _content_type="application/apply-patch+yaml",
            )
            await asyncio.to_thread(call)
            self._applied.append((kind, name))

    def delete(self, kind: str, name: str) -> None:
        self._api.delete_namespaced_custom_object(*self._where(kind), name)
        self._applied = [each for each in self._applied if each != (kind, name)]

    def clear(self) -> None:
        for kind, name in set(self._applied):
            self.delete(kind, name)

    def status(self, kind: str, name: str) -> dict[str, Any]:
        found = self._api.get_namespaced_custom_object(*self._where(kind), name)
        status: dict[str, Any] = found.get("status") or {}
        return status

    def reasons(self, kind: str, name: str) -> dict[str, str]:
        conditions = self.status(kind, name).get("conditions", [])
        return {condition["type"]: condition["reason"] for condition in conditions}


@pytest.fixture
def kubectl(cluster: "ApiClient", namespace: str) -> Iterator[Kubectl]:
    operator = Kubectl(cluster, namespace)
    yield operator
    operator.clear()


def mesh() -> list[Document]:
    return [
        resource("Provider", "main", baseUrl="https://provider.test/v1"),
        model("m", price="0.15"),
        resource("RoutePolicy", "default", models=["m"]),
        resource("CachePolicy", "default"),
        resource("Tenant", "acme", allowedModels=["m"]),
        resource("ApiKey", "ci", tenant="acme", secretRef={"secret": {"name": "s", "key": "k"}}),
    ]


async def test_custom_resources_are_in_force_and_changes_come_by_themselves(
    cluster: "ApiClient", kubectl: Kubectl, running: Running, metrics: Metrics
) -> None:
    store = KubernetesResourceStore(cluster, kubectl.namespace, metrics)
    async with running(store.watch()):
        await store.wait_until_loaded()
        await kubectl.apply(*mesh())
        await eventually(lambda: len(store.current.by_key) == 6 and not store.current.faults)
        overlay = store.current.models["m"].spec.pricing.overlay
        assert overlay is not None and str(overlay.input) == "0.15"
        await kubectl.apply(resource("CachePolicy", "default", epoch=7))
        await eventually(lambda: store.current.cache_policies["default"].spec.epoch == 7)
        await asyncio.to_thread(kubectl.delete, "ApiKey", "ci")
        await eventually(lambda: not store.current.api_keys)


async def test_the_status_says_what_became_of_each_generation(
    cluster: "ApiClient", kubectl: Kubectl, running: Running, metrics: Metrics
) -> None:
    store = KubernetesResourceStore(cluster, kubectl.namespace, metrics)

    def works(found: Resource) -> Readiness:
        return Readiness(True, "Works", "All is well.")

    async def says(kind: str, name: str, **reasons: str) -> None:
        await eventually(
            lambda: asyncio.to_thread(lambda: kubectl.reasons(kind, name) == reasons),
            what=f"{kind} {name}: {reasons}",
        )

    kinds = {"Tenant": works, "RoutePolicy": works}
    report = report_status(store, kinds, metrics, service="governance", timing=QUICK)
    await kubectl.apply(*mesh())
    async with running(store.watch(), report):
        await says("Tenant", "acme", Accepted="InForce", Ready="Works")
        await kubectl.apply(resource("Tenant", "acme", cachePolicy="none"))
        await says("Tenant", "acme", Accepted="ReferenceNotFound", Ready="Works")
        assert kubectl.status("Tenant", "acme")["observedGeneration"] == 2
        # No definition can say what form the keys of a map have.
        await kubectl.apply(resource("RoutePolicy", "odd", fallbacks={"No Name": ["m"]}))
        await says("RoutePolicy", "odd", Accepted="Invalid", Ready="NotAccepted")
        labels = {"kind": "Tenant", "result": "written"}
        written = metrics.sample("infermesh_status_writes_total", labels)
        looked: list[int] = []
        store.after_load(lambda: looked.append(1))
        await kubectl.apply(resource("CachePolicy", "default", epoch=1))
        await eventually(lambda: bool(looked))
        assert metrics.sample("infermesh_status_writes_total", labels) == written == 2
        assert metrics.sample("infermesh_status_writes_total", {**labels, "result": "failed"}) == 0


async def test_one_process_leads_and_hands_over(
    cluster: "ApiClient", namespace: str, running: Running
) -> None:
    leading: list[str] = []

    async def lead(name: str) -> None:
        leading.append(name)
        await asyncio.Event().wait()

    def candidate(name: str) -> Any:
        leadership = Leadership(cluster, namespace, "handed-over", Metrics(), timing=QUICK)
        return leadership.run(lambda: lead(name))

    async with running(candidate("first")):
        await eventually(lambda: leading == ["first"])
    async with running(candidate("second")):
        await eventually(lambda: leading == ["first", "second"])


async def test_a_secret_is_followed(
    cluster: "ApiClient", kubectl: Kubectl, running: Running, metrics: Metrics
) -> None:
    informer = Informer(one_secret(cluster, kubectl.namespace, "openai"), lambda _: None, metrics)
    async with running(informer.run()):
        await eventually(lambda: informer.synced)
        assert informer.objects == {}
        for name in ("another", "openai"):
            body = {"metadata": {"name": name}, "stringData": {"key": "s"}}
            await asyncio.to_thread(kubectl.core.create_namespaced_secret, kubectl.namespace, body)
        await eventually(lambda: list(informer.objects) == ["openai"])
        assert informer.objects["openai"]["data"] == {"key": "cw=="}
        await asyncio.to_thread(kubectl.core.delete_namespaced_secret, "openai", kubectl.namespace)
        await eventually(lambda: not informer.objects)
