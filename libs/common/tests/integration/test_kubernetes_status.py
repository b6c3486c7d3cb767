"""The status of a resource says what became of it, and is written only when that changes."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infermesh_common.kubernetes.informer import Timing
from infermesh_common.kubernetes.lease import LeaseTiming
from infermesh_common.kubernetes.status import Readiness, StatusReporter, report_status
from infermesh_common.kubernetes.testing.api_server import FakeApiServer
from infermesh_common.kubernetes.testing.wire import ApiError
from infermesh_common.resources.kubernetes_store import KubernetesResourceStore
from infermesh_common.resources.store import ResourceStore
from infermesh_common.resources.types import Resource
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.resources import resource
from infermesh_common.testing.servers import eventually

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Running = Callable[..., AbstractAsyncContextManager[list[asyncio.Task[None]]]]
QUICK = Timing(connect_s=1, list_s=1, watch_s=20, first_delay_s=0.01, longest_delay_s=0.05)
LONG_AGO = "2020-01-01T00:00:00Z"


class Mesh:
    """A store, its reporter on tenants, and how ready the test lets them be."""

    def __init__(self, api: FakeApiServer, client: "ApiClient", metrics: Metrics) -> None:
        self.api = api
        self.metrics = metrics
        self.store = KubernetesResourceStore(client, "mesh", metrics, timing=QUICK)
        self.readiness = Readiness(True, "Works", "All is well.")
        self.reporter = StatusReporter(
            self.store, {"Tenant": self._assess}, metrics, interval_s=0.05
        )

    def _assess(self, found: Resource) -> Readiness:
        if self.readiness.reason == "Defect":
            raise LookupError
        return self.readiness

    def declare(self, name: str, **spec: object) -> None:
        self.api.put("tenants", resource("Tenant", name, **spec))

    def status(self, name: str) -> dict[str, Any]:
        return self.api.get("tenants", name).get("status") or {}

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        found = [c for c in self.status(name).get("conditions", []) if c["type"] == kind]
        return found[0] if found else {}

    def says(self, name: str, **reasons: str) -> bool:
        return all(self.condition(name, kind).get("reason") == reasons[kind] for kind in reasons)

    @property
    def patches(self) -> int:
        return sum(request.method == "PATCH" for request in self.api.requests)

    def writes(self, result: str) -> float:
        labels = {"kind": "Tenant", "result": result}
        return self.metrics.sample("infermesh_status_writes_total", labels)


@pytest.fixture
def mesh(api: FakeApiServer, api_client: "ApiClient", metrics: Metrics) -> Mesh:
    api.put("routepolicies", resource("RoutePolicy", "default"))
    api.put("cachepolicies", resource("CachePolicy", "default"))
    return Mesh(api, api_client, metrics)


@pytest.fixture
def working(mesh: Mesh, running: Running) -> AbstractAsyncContextManager[object]:
    return running(mesh.store.watch(), mesh.reporter.run())


async def looks(mesh: Mesh, count: int = 3) -> None:
    """Waits until the reporter has looked that often."""
    seen: list[int] = []
    assess = mesh.reporter._assess["Tenant"]

    def counted(found: Resource) -> Readiness:
        seen.append(1)
        return assess(found)

    mesh.reporter._assess["Tenant"] = counted
    tenants = len(mesh.store.current.tenants)
    await eventually(lambda: len(seen) >= (count + 1) * tenants)
    mesh.reporter._assess["Tenant"] = assess


async def test_what_works_is_accepted_and_ready(
    mesh: Mesh, working: AbstractAsyncContextManager[object]
) -> None:
    mesh.declare("acme")
    async with working:
        await eventually(lambda: mesh.says("acme", Accepted="InForce", Ready="Works"))
    status = mesh.status("acme")
    assert status["observedGeneration"] == 1
    for condition in status["conditions"]:
        assert condition["status"] == "True"
        assert condition["observedGeneration"] == 1
        assert condition["message"] and condition["lastTransitionTime"]


async def test_a_status_that_is_right_is_not_written_again(
    mesh: Mesh, working: AbstractAsyncContextManager[object]
) -> None:
    mesh.declare("acme")
    mesh.declare("beta")
    async with working:
        await eventually(
            lambda: mesh.says("acme", Ready="Works") and mesh.says("beta", Ready="Works")
        )
        await looks(mesh, 5)
        assert mesh.patches == 2
        assert mesh.writes("written") == 2


async def test_the_time_of_a_transition_changes_with_the_status_only(
    mesh: Mesh, working: AbstractAsyncContextManager[object]
) -> None:
    mesh.declare("acme")
    async with working:
        await eventually(lambda: mesh.says("acme", Ready="Works"))
        old = mesh.status("acme")
        for condition in old["conditions"]:
            condition["lastTransitionTime"] = LONG_AGO
        mesh.api.put_status("tenants", "acme", old)
        mesh.readiness = Readiness(True, "WorksStill", "Differently.")
        await eventually(lambda: mesh.says("acme", Ready="WorksStill"))
        assert mesh.condition("acme", "Ready")["lastTransitionTime"] == LONG_AGO
        mesh.readiness = Readiness(False, "Broken", "Mend it.")
        await eventually(lambda: mesh.says("acme", Ready="Broken"))
        assert mesh.condition("acme", "Ready")["status"] == "False"
        assert mesh.condition("acme", "Ready")["lastTransitionTime"] != LONG_AGO
        assert mesh.condition("acme", "Accepted")["lastTransitionTime"] == LONG_AGO


async def test_a_refused_resource_says_why_and_what_is_in_force(
    mesh: Mesh, working: AbstractAsyncContextManager[object]
) -> None:
    mesh.declare("acme", suspended=True)
    mesh.declare("new", suspended="perhaps")
    async with working:
        await eventually(lambda: mesh.says("new", Accepted="Invalid", Ready="NotAccepted"))
        accepted = mesh.condition("new", "Accepted")
        assert accepted["status"] == "False" and "spec.suspended" in accepted["message"]
        await eventually(lambda: mesh.says("acme", Accepted="InForce"))
        mesh.declare("acme", routePolicy="none-of-that-name")
        await eventually(lambda: mesh.says("acme", Accepted="ReferenceNotFound", Ready="Works"))
        accepted = mesh.condition("acme", "Accepted")
        assert "RoutePolicy none-of-that-name" in accepted["message"]
        assert "last valid version stays in force" in accepted["message"]
        assert mesh.status("acme")["observedGeneration"] == 2
        assert mesh.store.current.tenants["acme"].spec.suspended


async def test_conditions_of_others_are_left_alone(
    mesh: Mesh, working: AbstractAsyncContextManager[object]
) -> None:
    mesh.declare("acme")
    foreign = {"type": "Audited", "status": "True", "reason": "Yes", "message": ""}
    mesh.api.put_status("tenants", "acme", {"conditions": [foreign]})
    async with working:
        await eventually(lambda: mesh.says("acme", Ready="Works"))
    assert mesh.condition("acme", "Audited") == foreign


async def test_a_status_that_somebody_changed_is_put_right(
    mesh: Mesh, working: AbstractAsyncContextManager[object]
) -> None:
    mesh.declare("acme")
    async with working:
        await eventually(lambda: mesh.says("acme", Ready="Works"))
        mesh.api.put_status("tenants", "acme", {})
        await eventually(lambda: mesh.says("acme", Ready="Works"))


@pytest.mark.parametrize(
    ("status", "result"), [(409, "conflict"), (422, "refused"), (500, "failed"), (404, "gone")]
)
async def test_a_write_that_fails_is_tried_again(
    mesh: Mesh, working: AbstractAsyncContextManager[object], status: int, result: str
) -> None:
    mesh.declare("acme")
    mesh.declare("beta")
    mesh.api.refuse = lambda request: (
        ApiError(status, "Refused") if request.method == "PATCH" else None
    )
    async with working:
        await eventually(lambda: mesh.writes(result) >= 2)
        mesh.api.refuse = lambda request: None
        await eventually(
            lambda: mesh.says("acme", Ready="Works") and mesh.says("beta", Ready="Works")
        )


async def test_writes_go_on_when_the_api_server_is_back(
    mesh: Mesh, working: AbstractAsyncContextManager[object]
) -> None:
    mesh.declare("acme")
    async with working:
        await eventually(lambda: mesh.says("acme", Ready="Works"))
        mesh.api.stop()
        mesh.readiness = Readiness(False, "Broken", "Mend it.")
        # There need not be a second: a leader that cannot renew its lease writes no more.
        await eventually(lambda: mesh.writes("failed") >= 1)
        mesh.api.start()
        await eventually(lambda: mesh.says("acme", Ready="Broken"))


async def test_an_assessment_that_fails_is_counted_and_tried_again(
    mesh: Mesh, working: AbstractAsyncContextManager[object]
) -> None:
    mesh.declare("acme")
    mesh.readiness = Readiness(True, "Defect", "")
    labels = {"task": "resource-status"}
    async with working:
        await eventually(
            lambda: mesh.metrics.sample("infermesh_background_failures_total", labels) >= 2
        )
        mesh.readiness = Readiness(True, "Works", "All is well.")
        await eventually(lambda: mesh.says("acme", Ready="Works"))


async def test_only_the_leader_writes_and_the_next_one_goes_on(
    api: FakeApiServer, mesh: Mesh, api_client: "ApiClient", running: Running
) -> None:
    others = Metrics()
    standby = KubernetesResourceStore(api_client, "mesh", others, timing=QUICK)
    quick = LeaseTiming(lasts_s=1, renew_within_s=0.5, retry_s=0.05)

    def works(found: Resource) -> Readiness:
        return Readiness(True, "Works", "All is well.")

    mesh.declare("acme")
    async with running(mesh.store.watch(), standby.watch()):
        assess = {"Tenant": works}
        async with running(
            report_status(mesh.store, assess, mesh.metrics, service="governance", timing=quick)
        ):
            await eventually(lambda: mesh.says("acme", Ready="Works"))
            async with running(
                report_status(standby, assess, others, service="governance", timing=quick)
            ):
                mesh.declare("beta")
                await eventually(lambda: mesh.says("beta", Ready="Works"))
                assert (
                    others.sample(
                        "infermesh_status_writes_total", {"kind": "Tenant", "result": "written"}
                    )
                    == 0
                )
        assert api.get("leases", "infermesh-governance")["spec"]["holderIdentity"] == ""
        async with running(
            report_status(standby, assess, others, service="governance", timing=quick)
        ):
            mesh.declare("gamma")
            await eventually(lambda: mesh.says("gamma", Ready="Works"))


async def test_files_have_no_status(tmp_path: Path, metrics: Metrics) -> None:
    async with asyncio.timeout(20):
        await report_status(ResourceStore(tmp_path, metrics), {}, metrics, service="router")
