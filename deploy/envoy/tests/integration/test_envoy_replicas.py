"""Several routers behind the edge: one of them stops or is killed, and no client notices, or none
is deceived."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import pytest

from infermesh_common.testing.servers import eventually
from infermesh_envoy.testing import EnvoyProcess

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

CHAT = "/v1/chat/completions"


class Replica(Protocol):
    """One router."""

    port: int

    def send(self, number: signal.Signals) -> None: ...

    async def ended(self) -> int: ...


StartEdge = Callable[..., Awaitable[EnvoyProcess]]
StartReplica = Callable[..., Awaitable[Replica]]


def addresses(ports: list[int]) -> Callable[[dict[str, Any]], None]:
    """Makes these ports the routers of an edge."""

    def adjust(bootstrap: dict[str, Any]) -> None:
        for cluster in bootstrap["static_resources"]["clusters"]:
            if cluster["name"] == "router":
                cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
                    {
                        "endpoint": {
                            "address": {"socket_address": {"address": "127.0.0.1", "port_value": p}}
                        }
                    }
                    for p in ports
                ]

    return adjust


@dataclass
class Load:
    """What clients saw."""

    answers: "Counter[str]" = field(default_factory=Counter)
    streams: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Answers of both kinds."""
        return sum(self.answers.values()) + self.streams


async def whole(session: aiohttp.ClientSession, load: Load, question: dict[str, object]) -> None:
    """One answer that is not streamed."""
    async with session.post(CHAT, json=question) as response:
        text = await response.text()
        if response.status == 200:
            load.answers[json.loads(text)["replica"]] += 1
        else:
            load.failures.append(f"{response.status} {text}")


async def streamed(session: aiohttp.ClientSession, load: Load, question: dict[str, object]) -> None:
    """One answer that is."""
    async with session.post(CHAT, json={**question, "stream": True}) as response:
        text = await response.text()
        if response.status == 200 and text.endswith("data: [DONE]\n\n"):
            load.streams += 1
        else:
            load.failures.append(f"{response.status} {text[-200:]}")


def faults(edge: EnvoyProcess) -> list[str]:
    """What the edge says of requests that went wrong."""
    lines = edge.access_log.read_text().splitlines()
    return [f"\n{line}" for line in lines if json.loads(line)["response_flags"] != "-"]


@asynccontextmanager
async def under_load(
    edge: EnvoyProcess, *, clients: int, ask: Callable[..., Awaitable[None]], **question: object
) -> AsyncIterator[Load]:
    """Clients that ask one question after the other, until the block ends."""
    load, done = Load(), False

    async def client() -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
            while not done:
                try:
                    await ask(session, load, question)
                except aiohttp.ClientError as error:
                    load.failures.append(repr(error))

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    try:
        await eventually(lambda: load.total > 2 * clients, what="the load flows")
        yield load
        goal = load.total + 2 * clients
        await eventually(lambda: load.total > goal, what="the load still flows")
    finally:
        done = True
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("ask", [whole, streamed])
async def test_no_request_fails_when_a_router_is_told_to_stop(
    start_edge: StartEdge, start_replica: StartReplica, ask: Callable[..., Awaitable[None]]
) -> None:
    one, two = [await start_replica(name, drain_ms=300) for name in ("one", "two")]
    edge = await start_edge(adjust=addresses([one.port, two.port]))
    async with under_load(edge, clients=16, ask=ask, steps=10, pause_ms=5) as load:
        one.send(signal.SIGTERM)
        assert await one.ended() == 0
    assert load.failures == [], faults(edge)


async def test_a_stopping_router_is_left_alone_after_two_checks_of_its_health(
    start_edge: StartEdge, start_replica: StartReplica
) -> None:
    one, two = [await start_replica(name, drain_ms=20_000) for name in ("one", "two")]
    edge = await start_edge(adjust=addresses([one.port, two.port]), upstream_health_interval_s=0.1)
    async with under_load(edge, clients=4, ask=whole) as load:
        one.send(signal.SIGTERM)
        await eventually(lambda: edge.stat("cluster.router.membership_healthy") == 1)
        await asyncio.sleep(0)
        before = load.answers["one"]
        goal = load.answers["two"] + 50
        await eventually(lambda: load.answers["two"] > goal)
        # At most what was under way at the moment.
        assert load.answers["one"] - before <= 4
    assert load.failures == [], faults(edge)
    assert edge.stat("cluster.router.upstream_rq_retry") == 0


@pytest.mark.parametrize("body_bytes", [100, 19 * 2**20])
async def test_a_request_whose_router_is_killed_is_answered_by_another(
    start_edge: StartEdge, start_replica: StartReplica, body_bytes: int
) -> None:
    one, two = [await start_replica(name) for name in ("one", "two")]
    edge = await start_edge(adjust=addresses([one.port, two.port]))
    load = Load()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        question: dict[str, object] = {"steps": 1, "pause_ms": 3000, "pad": "x" * body_bytes}
        asked = [asyncio.create_task(whole(session, load, question)) for _ in range(6)]
        await eventually(
            lambda: edge.stat("cluster.router.upstream_rq_active") == 6
            and edge.stat("cluster.router.upstream_cx_tx_bytes_buffered") == 0,
            what="all are under way",
        )
        one.send(signal.SIGKILL)
        await asyncio.gather(*asked)
    assert load.failures == [], faults(edge)
    assert load.answers == {"two": 6}
    assert edge.stat("cluster.router.upstream_rq_retry") >= 1


async def test_no_request_fails_when_a_router_is_killed_under_load(
    start_edge: StartEdge, start_replica: StartReplica
) -> None:
    one, two = [await start_replica(name) for name in ("one", "two")]
    edge = await start_edge(adjust=addresses([one.port, two.port]))
    async with under_load(edge, clients=16, ask=whole, steps=1, pause_ms=3) as load:
        one.send(signal.SIGKILL)
        await one.ended()
    assert load.failures == [], faults(edge)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_stream_that_a_router_cannot_finish_does_not_look_complete(
    start_edge: StartEdge, start_replica: StartReplica, number: signal.Signals
) -> None:
    """Killed, the transfer is broken off; told to stop, the stream ends with an error event."""
    one = await start_replica("one", drain_ms=0, stop_grace_ms=600)
    edge = await start_edge(adjust=addresses([one.port]))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        question = {"steps": 1000, "pause_ms": 100, "stream": True}
        received = b""
        async with session.post(CHAT, json=question) as response:
            assert response.status == 200
            received += await response.content.readany()
            one.send(number)
            try:
                while piece := await response.content.readany():
                    received += piece
                complete = True
            except aiohttp.ClientPayloadError:
                complete = False
    assert b"[DONE]" not in received
    if number is signal.SIGKILL:
        assert not complete
    else:
        assert complete and received.endswith(b'data: {"error": "SERVICE_STOPPING"}\n\n')
