"""Pods die and come; clients do not notice."""

from __future__ import annotations

import asyncio

import httpx2
import openai
import pytest

from tests.cluster.figures import record
from tests.cluster.load import ConstantLoad, through_openai
from tests.cluster.mesh import LATENCY_MS, MODEL, MeshOnCluster, ask
from tests.cluster.polling import until

_PER_SECOND = 10
# Envoy breaks a tie of two idle routers by chance: of n requests their shares differ by 1/sqrt(n)
# (one standard deviation) of themselves, so a tenth is four deviations only for 1,600.
_SHARED_REQUESTS = 1600
_SHARED_PER_SECOND = 30
_STREAMS = 8
# Streams of some ten seconds: enough to kill a router in the middle of them.
SLOW_STREAMS = {
    "answer": {"text": "one two three four five six seven eight nine ten " * 2, "events": 20},
    "latency": {"token_ms": 500},
}


@pytest.mark.usefixtures("cluster")
class TestFaults:
    """A mesh with two of everything."""

    @pytest.mark.parametrize("component", ["router", "cache", "governance", "analytics"])
    async def test_a_killed_pod_fails_no_whole_answer_and_loses_no_event(
        self, mesh: MeshOnCluster, component: str
    ) -> None:
        pods = mesh.release.pods(component)
        before = await asyncio.to_thread(self._ledger_at_rest, mesh)
        async with mesh.async_client() as client:
            async with ConstantLoad(through_openai(client, MODEL), per_second=_PER_SECOND) as load:
                await load.for_requests(20)
                await asyncio.to_thread(mesh.faults.kill, pods[0])
                await load.for_requests(50)
        kind = "statefulset" if component == "analytics" else "deployment"
        mesh.faults.settled(f"{kind}/{mesh.release.fullname}-{component}", within_s=120)
        record(**{f"kill_{component}_failed_requests": load.report.failed})
        assert not load.report.failed, str(load.report)
        # What a client was answered is in the ledger; an answer that was lost on its way and tried
        # again may be there twice: it was paid twice.
        wanted = before + load.report.succeeded
        await asyncio.to_thread(
            until,
            lambda: self._in_ledger(mesh) >= wanted,
            what=f"{wanted} answers in the ledger",
            # What the one that was killed had read is claimed after `analytics.claim_idle_ms`.
            within_s=150,
        )

    async def test_a_killed_edge_fails_no_client_that_tries_again(
        self, mesh: MeshOnCluster
    ) -> None:
        # Nobody can answer on the connections that die with it; OpenAI's SDK tries twice more
        # unless it is told otherwise.
        pods = mesh.release.pods("envoy")
        async with mesh.async_client(retries=2) as client:
            async with ConstantLoad(through_openai(client, MODEL), per_second=_PER_SECOND) as load:
                await load.for_requests(20)
                await asyncio.to_thread(mesh.faults.kill, pods[0])
                await load.for_requests(50)
        mesh.faults.settled(f"deployment/{mesh.release.fullname}-envoy", within_s=120)
        record(kill_envoy_failed_requests=load.report.failed)
        assert not load.report.failed, str(load.report)

    async def test_a_stream_on_a_killed_router_ends_with_an_error_and_never_looks_whole(
        self, mesh: MeshOnCluster
    ) -> None:
        await asyncio.to_thread(mesh.simulator.script, SLOW_STREAMS)
        try:
            ends = await self._streams_while(mesh, mesh.release.pods("router")[0])
        finally:
            await asyncio.to_thread(mesh.simulator.script, {"latency": {"headers_ms": LATENCY_MS}})
            mesh.faults.settled(f"deployment/{mesh.release.fullname}-router", within_s=120)
        record(**{f"streams_{end}": ends.count(end) for end in ("whole", "error", "cut")})
        assert "cut" not in ends, "a stream ended as if there were no more to come"
        assert "whole" in ends and "error" in ends, "the router that was killed had no stream"

    @staticmethod
    async def _streams_while(mesh: MeshOnCluster, router: str) -> list[str]:
        """Starts streams, kills a router when each has begun, and says how each ended."""
        begun = asyncio.Barrier(_STREAMS + 1)

        async def one(client: openai.AsyncOpenAI, number: int) -> str:
            finished = False
            try:
                chunks = await client.chat.completions.create(
                    model=MODEL,
                    messages=[{"role": "user", "content": f"slow {router} {number}"}],
                    stream=True,
                )
                first = await anext(aiter(chunks))
                await begun.wait()
                async for chunk in chunks:
                    finished = finished or any(choice.finish_reason for choice in chunk.choices)
            except (openai.APIError, httpx2.TransportError):
                return "error"
            return "whole" if finished and first else "cut"

        async with mesh.async_client() as client, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(client, number)) for number in range(_STREAMS)]
            async with asyncio.timeout(60):
                await begun.wait()
            await asyncio.to_thread(mesh.faults.kill, router)
        return [task.result() for task in tasks]

    async def test_new_routers_get_their_share_without_clients_connecting_anew(
        self, mesh: MeshOnCluster
    ) -> None:
        name = f"deployment/{mesh.release.fullname}-router"
        await asyncio.to_thread(mesh.faults.scale, name, 1)
        try:
            async with mesh.async_client() as client:
                send = through_openai(client, MODEL)
                async with ConstantLoad(send, per_second=_SHARED_PER_SECOND) as load:
                    await load.for_requests(20)
                    await asyncio.to_thread(mesh.faults.scale, name, 2)
                    await load.for_requests(100)
                    before = await asyncio.to_thread(self._served, mesh)
                    await load.for_requests(_SHARED_REQUESTS)
                    after = await asyncio.to_thread(self._served, mesh)
        finally:
            await asyncio.to_thread(mesh.faults.scale, name, 2)
        shares = [after[pod] - before.get(pod, 0) for pod in after]
        skew = (max(shares) - min(shares)) / sum(shares)
        record(scaleup_skew_ratio=round(skew, 3))
        assert not load.report.failed, str(load.report)
        assert skew < 0.1, shares

    def test_requests_are_answered_without_redis_and_it_is_used_again_when_it_is_back(
        self, mesh: MeshOnCluster
    ) -> None:
        name = f"statefulset/{mesh.release.fullname}-redis"
        with mesh.client() as client:
            mesh.kubectl.run("scale", name, "--replicas=0")
            try:
                for number in range(5):
                    assert ask(client, f"Without Redis {number}?")
                mesh.faults.restart(f"deployment/{mesh.release.fullname}-router")
                for number in range(5):
                    assert ask(client, f"Started without Redis {number}?")
            finally:
                mesh.faults.scale(name, 1)
            until(
                lambda: self._is_hit(client, "With Redis?"),
                what="a hit",
                within_s=60,
            )

    @staticmethod
    def _in_ledger(mesh: MeshOnCluster) -> int:
        try:
            return mesh.ledger_requests()
        except OSError:
            # The one that keeps it has just come back.
            return -1

    @staticmethod
    def _ledger_at_rest(mesh: MeshOnCluster) -> int:
        """What the ledger has when nothing more comes."""
        seen = [-1]

        def look() -> bool:
            seen.append(mesh.ledger_requests())
            return seen[-1] == seen[-2]

        until(look, what="the ledger to rest", within_s=60, every_s=2)
        return seen[-1]

    @staticmethod
    def _served(mesh: MeshOnCluster) -> dict[str, float]:
        return {
            pod: mesh.metrics.read([pod]).total("infermesh_inferences_total")
            for pod in mesh.release.pods("router")
        }

    @staticmethod
    def _is_hit(client: openai.OpenAI, question: str) -> bool:
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=16
        )
        return raw.headers["x-infermesh-cache"] == "hit"
