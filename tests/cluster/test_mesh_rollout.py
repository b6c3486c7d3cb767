"""Nothing fails while the mesh is changed under constant load."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.figures import record
from tests.cluster.load import ConstantLoad, LoadReport, through_openai
from tests.cluster.mesh import MODEL, MeshOnCluster

_PER_SECOND = 10
WORKLOADS = ("deployment/router", "deployment/cache", "deployment/governance", "deployment/envoy")


async def under_load(mesh: MeshOnCluster, change: object) -> tuple[LoadReport, LoadReport]:
    """What came of whole and of streamed answers while `change`, which blocks, was made."""
    assert callable(change)
    async with mesh.async_client() as client:
        whole = ConstantLoad(through_openai(client, MODEL), per_second=_PER_SECOND)
        streamed = ConstantLoad(through_openai(client, MODEL, stream=True), per_second=_PER_SECOND)
        async with whole, streamed:
            await whole.for_requests(20)
            await asyncio.to_thread(change)
            await whole.for_requests(20)
            await streamed.for_requests(20)
    return whole.report, streamed.report


@pytest.mark.usefixtures("cluster")
class TestRollout:
    """A mesh with two of everything."""

    @pytest.mark.parametrize("workload", WORKLOADS)
    async def test_a_rolling_restart_fails_no_request(
        self, mesh: MeshOnCluster, workload: str
    ) -> None:
        kind, _, component = workload.partition("/")
        name = f"{kind}/{mesh.release.fullname}-{component}"
        whole, streamed = await under_load(mesh, lambda: mesh.faults.restart(name))
        record(**{f"restart_{component}_failed_requests": whole.failed + streamed.failed})
        assert not whole.failed, str(whole)
        assert not streamed.failed, str(streamed)

    async def test_an_upgrade_and_a_rollback_fail_no_request(self, mesh: MeshOnCluster) -> None:
        def upgrade() -> None:
            changed = {**mesh.values, "config": {"cache": {"entries": {"uses_interval_ms": 900}}}}
            mesh.release.install(changed)
            mesh.release.helm.run("rollback", mesh.release.name, "--wait", "--timeout", "300s")

        whole, streamed = await under_load(mesh, upgrade)
        record(upgrade_failed_requests=whole.failed + streamed.failed)
        assert not whole.failed, str(whole)
        assert not streamed.failed, str(streamed)
