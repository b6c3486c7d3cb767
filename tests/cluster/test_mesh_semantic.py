"""Stored questions outlive the cache's pods in Milvus, and nobody needs Milvus to be answered."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import openai
import pytest

import infermesh
from infermesh import Message
from infermesh_common.testing.resources import resource
from tests.cluster.load import ConstantLoad, through_openai
from tests.cluster.mesh import MODEL, MeshOnCluster, ask
from tests.cluster.polling import until
from tests.cluster.running_mesh import ClusterRunningMesh

TENANT = "by-meaning"
MILVUS = {"milvus": {"enabled": True, "persistence": {"size": "1Gi", "deleteWithRelease": True}}}
_PER_SECOND = 10


@pytest.fixture(scope="class")
def by_meaning(installed_mesh: MeshOnCluster) -> Iterator[ClusterRunningMesh]:
    installed_mesh.release.install({**installed_mesh.values, **MILVUS})
    running = ClusterRunningMesh(installed_mesh)
    running.apply([resource("CachePolicy", TENANT, semantic={"enabled": True, "delta": 0.01})])
    running.add_tenant(TENANT)
    running.apply([resource("Tenant", TENANT, cachePolicy=TENANT)])
    try:
        yield running
    finally:
        installed_mesh.kubectl.delete("tenants.infermesh.dev", TENANT)
        installed_mesh.kubectl.delete("cachepolicies.infermesh.dev", TENANT)
        installed_mesh.release.install(installed_mesh.values)


@pytest.mark.usefixtures("cluster")
class TestSemantic:
    """A mesh with the bundled Milvus, and a tenant whose policy has the semantic tier on."""

    def test_a_stored_question_is_a_candidate_after_every_cache_pod_was_replaced(
        self, mesh: MeshOnCluster, by_meaning: ClusterRunningMesh
    ) -> None:
        # What is asked while the tier still loads is not stored in it, and not asked again.
        attempts = itertools.count()
        until(
            lambda: self._stored(by_meaning, next(attempts)),
            what="a stored question as a candidate for another one",
            within_s=180,
        )
        mesh.faults.restart(f"deployment/{mesh.release.fullname}-cache")
        until(
            lambda: self._found(by_meaning),
            what="the same from Milvus, by new pods",
            within_s=180,
        )

    async def test_a_killed_milvus_fails_no_request(
        self, mesh: MeshOnCluster, by_meaning: ClusterRunningMesh
    ) -> None:
        pods = mesh.release.pods("milvus")
        async with by_meaning.async_openai(key=by_meaning.key(TENANT)) as client:
            async with ConstantLoad(through_openai(client, MODEL), per_second=_PER_SECOND) as load:
                await load.for_requests(20)
                await asyncio.to_thread(mesh.faults.kill, pods[0])
                await load.for_requests(100)
        name = f"statefulset/{mesh.release.fullname}-milvus"
        await asyncio.to_thread(mesh.faults.settled, name, within_s=180)
        assert not load.report.failed, str(load.report)

    def _stored(self, running: ClusterRunningMesh, attempt: int) -> bool:
        try:
            with running.openai(TENANT) as client:
                ask(client, "How do I reset my password" + ", please" * attempt + "?")
        except openai.OpenAIError:
            return False
        return self._found(running)

    @staticmethod
    def _found(running: ClusterRunningMesh) -> bool:
        try:
            with running.client(TENANT) as client:
                told = client.explain_lookup(
                    [Message("user", "I want to reset my password, how?")],
                    models=[MODEL],
                    parameters={"max_tokens": 16},
                )
        except infermesh.InfermeshError:
            return False
        return any("reset my password" in candidate.text for candidate in told.candidates)
