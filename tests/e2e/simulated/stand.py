"""A mesh whose providers are simulators, each with faults of its own, and what it is asked."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeVar
from urllib.request import Request, urlopen

import aiohttp
import psutil

import infermesh
from benchmarks.processes import wait_until
from benchmarks.soak.client import MeshClient
from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.servers import free_port
from infermesh_local import LocalMesh, MeshInfo, UpOptions
from infermesh_local.layout import StateLayout
from infermesh_local.settings import load_local_settings
from tests.e2e.simulated.cases import LIMIT_BYTES, STRIKES, WIRES, Case
from tools.simulator.server import SimulatorInThread, simulator_in_thread

T = TypeVar("T")
TIMEOUTS = {"connectMs": 500, "firstTokenMs": 1500, "betweenTokensMs": 700, "totalMs": 4000}
# A hang would last for ever; the machine may be busy.
WITHIN_S = 3 * TIMEOUTS["totalMs"] / 1000
STAND_IN = "stand-in"
ANSWER = "Paris is the capital of France."
OTHER_ANSWER = "Lyon is not, says another model."
USAGE = {"input": 14, "cached_input": 110, "cache_write_input": 30, "output": 7, "reasoning": 5}
OTHER_USAGE = {"input": 13, "cached_input": 17, "output": 3}
# US dollars per million tokens; no two sums of these are alike.
RATES = {
    "input": Decimal("0.37"),
    "cached_input": Decimal("0.11"),
    "cache_write_input": Decimal("0.53"),
    "output": Decimal("1.9"),
    "reasoning": Decimal("2.3"),
}
PLAIN, BACKED = "plain", "backed"
_BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "bedrock": ""}
_SETTINGS = {
    # Breakers and budgets have tests of their own; here they would hide a fault behind another.
    "INFERMESH_ROUTER__BREAKER__FAILURE_THRESHOLD": "100000",
    "INFERMESH_ROUTER__RESILIENCE__RETRIES_PER_SECOND": "1000",
    "INFERMESH_ROUTER__LIMITS__MAX_RESPONSE_BYTES": str(LIMIT_BYTES),
    # The same of the cache: what is kept is to be seen on a busy machine too.
    "INFERMESH_ROUTER__CACHE__LOOKUP_TIMEOUT_MS": "10000",
    "INFERMESH_ROUTER__CACHE__STORE_TIMEOUT_MS": "10000",
    "INFERMESH_CACHE__REDIS__OPERATION_TIMEOUT_MS": "5000",
}


def worth(tokens: dict[str, int]) -> Decimal:
    """US dollars of tokens by bucket."""
    return sum((RATES[name] * count for name, count in tokens.items()), Decimal(0)) / 1_000_000


def script() -> dict[str, object]:
    """What the simulator of all wires does."""
    rules = [
        {
            "when": {"model": f"*.{strike.name}"},
            "fault": {"name": strike.fault.value, **strike.spec},
            # So that words are out before the fault shows.
            "latency": {"token_ms": 20},
        }
        for strike in STRIKES
        if not strike.of_connection
    ]
    return {**healthy(), "rules": rules}


def healthy() -> dict[str, object]:
    """Without a fault."""
    return {"answer": {"text": ANSWER, "usage": USAGE}}


def slow() -> dict[str, object]:
    """Without a fault, in no hurry."""
    return {**healthy(), "latency": {"headers_ms": 300}}


def standing_in() -> dict[str, object]:
    """The answer of the model that stands in."""
    return {"answer": {"text": OTHER_ANSWER, "usage": OTHER_USAGE}}


@dataclass
class Simulators:
    """Those that fail and the one that stands in.

    Attributes:
        main: fails by the model that is asked for.
        of_connections: each fails whoever connects, by the name of its strike.
        stand_in: never fails.
    """

    main: SimulatorInThread
    of_connections: dict[str, SimulatorInThread]
    stand_in: SimulatorInThread

    @property
    def all(self) -> list[SimulatorInThread]:
        return [self.main, *self.of_connections.values(), self.stand_in]

    def strike(self) -> None:
        """All of them fail as they should."""
        self.main.load(script())
        for strike in STRIKES:
            if strike.of_connection:
                fault = {"connections": {"fault": strike.fault.value}}
                self.of_connections[strike.name].load(fault)

    def heal(self) -> None:
        """None of them fails any more."""
        for simulator in (self.main, *self.of_connections.values()):
            simulator.load(healthy())

    def left_open(self) -> int:
        """Connections on which somebody still waits for an answer. Closes those that are idle."""
        # With it idle ones are closed at once; it strikes none.
        closing = {"connections": {"fault": "connect_close", "nth": [10**9]}}
        for simulator in (self.main, *self.of_connections.values()):
            simulator.load({**healthy(), **closing})
        self.stand_in.load({**standing_in(), **closing})
        return sum(simulator.counts()["connections"]["open"] for simulator in self.all)


@contextmanager
def simulators() -> Iterator[Simulators]:
    """Run while the block does."""
    with ExitStack() as stack:
        start = stack.enter_context
        yield Simulators(
            start(simulator_in_thread(healthy())),
            {
                strike.name: start(simulator_in_thread(healthy()))
                for strike in STRIKES
                if strike.of_connection
            },
            start(simulator_in_thread(standing_in())),
        )


def documents(
    cases: Sequence[Case], running: Simulators, credentials: Path
) -> list[dict[str, object]]:
    """Resources: a provider a wire and simulator, a model a case, tenants with and without a
    stand-in. Requests to Bedrock are signed with `credentials`: without, none is sent."""
    providers = [_provider(wire, wire, running.main.url, credentials) for wire in WIRES]
    providers += [
        _provider(f"{wire}.{name}", wire, simulator.url, credentials)
        for wire in WIRES
        for name, simulator in running.of_connections.items()
    ]
    providers.append(_provider(STAND_IN, "openai", running.stand_in.url, credentials))
    overlay = {_camel(name): str(rate) for name, rate in RATES.items()}
    pricing = {"overlay": {"source": "test", **overlay}}

    def priced(name: str, provider: str) -> dict[str, object]:
        return model(
            name,
            provider=provider,
            upstreamModel=name,
            capabilities=["chat"],
            contextTokens=100_000,
            pricing=pricing,
        )

    fallbacks = {case.model: [STAND_IN] for case in cases}
    return [
        *providers,
        *(priced(case.model, case.provider) for case in cases),
        *(priced(f"{wire}.healthy", wire) for wire in WIRES),
        priced(STAND_IN, STAND_IN),
        resource("RoutePolicy", BACKED, fallbacks=fallbacks),
        resource("CachePolicy", "simulated", enabled=True),
        resource("Tenant", PLAIN, cachePolicy="simulated"),
        resource("Tenant", BACKED, routePolicy=BACKED, cachePolicy="simulated"),
    ]


def _provider(name: str, wire: str, url: str, credentials: Path) -> dict[str, object]:
    signed = {"region": "eu-central-1", "auth": {"file": str(credentials)}}
    more = signed if wire == "bedrock" else {}
    return resource(
        "Provider",
        name,
        protocol=wire,
        baseUrl=url + _BASES[wire],
        timeouts=TIMEOUTS,
        maxConcurrent=1000,
        **more,
    )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


class Stand:
    """A mesh that runs in front of simulators.

    Args:
        local: of local mode.
        info: of the mesh.
        operator: with an operator's key.
        running: the simulators.
    """

    def __init__(
        self, local: LocalMesh, info: MeshInfo, operator: infermesh.Client, running: Simulators
    ) -> None:
        self.info = info
        self.operator = operator
        self.simulators = running
        self._processes = {p.name: p.pid for p in local.status().processes if p.pid}
        ports = json.loads(StateLayout.at(info.state_dir).ports_file.read_text())
        self._metrics_url = f"http://127.0.0.1:{ports['router-metrics']}/metrics"
        self.keys = {
            tenant: operator.create_key(tenant=tenant).secret for tenant in (PLAIN, BACKED)
        }
        for key in self.keys.values():
            wait_until(lambda: self._admitted(key), "the first use of a new key")

    def descriptors(self) -> int:
        """Open ones of the router."""
        return psutil.Process(self._processes["router"]).num_fds()

    def under_way(self) -> int:
        """Requests of inferences that the router has not ended."""
        with urllib.request.urlopen(self._metrics_url, timeout=10) as response:
            lines = response.read().decode().splitlines()
        name = 'infermesh_rpc_in_flight{service="router"} '
        return next((int(float(x[len(name) :])) for x in lines if x.startswith(name)), 0)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[MeshClient]:
        """A client of every surface."""
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            session = await enter(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout()
                )
            )
            typed = {
                key: await enter(
                    infermesh.AsyncClient(self.info.url, key, max_retries=0, timeout_s=WITHIN_S)
                )
                for key in self.keys.values()
            }
            yield MeshClient(self.info.url, session, typed, WITHIN_S)

    def events(self, tag: str, count: int) -> list[infermesh.UsageEvent]:
        """Those of a tag, once there are `count` of them, and no more."""
        wanted = infermesh.UsageFilter(tag=tag)

        def counted() -> int:
            rows = list(self.operator.usage(filter=wanted))
            return sum(row.requests + row.failures for row in rows)

        wait_until(lambda: counted() >= count, f"{count} events in the ledger")
        return list(self.operator.events(wanted, page_size=500))

    def _admitted(self, key: str) -> bool:
        headers = {"authorization": f"Bearer {key}"}
        try:
            with urlopen(Request(f"{self.info.url}/v1/models", headers=headers), timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def stand(folder: Path, cases: Sequence[Case]) -> Iterator[Stand]:
    """Runs while the block does."""
    with simulators() as running:
        settings = load_local_settings({**os.environ, **_SETTINGS})
        local = LocalMesh(folder, settings=settings)
        info = local.up(UpOptions(port=free_port()), print)
        try:
            file = info.resources_dir / "simulated.yaml"
            # JSON is YAML, and takes a tenth of the time to write.
            credentials = info.state_dir / "bedrock-credentials"
            credentials.write_text("key-id:made-up")
            written = map(json.dumps, documents(cases, running, credentials))
            file.write_text("\n---\n".join(written))
            with infermesh.Client(info.url, info.operator_key_file.read_text().strip()) as client:
                wait_until(lambda: _in_force(client), "the resources' coming into force")
                yield Stand(local, info, client, running)
        finally:
            local.down(print)


def _in_force(client: infermesh.Client) -> bool:
    tenants = {tenant.name for tenant in client.tenants()}
    return {PLAIN, BACKED} <= tenants and STAND_IN in {known.name for known in client.models()}


async def at_once(
    calls: Sequence[Callable[[], Awaitable[T]]], most: int
) -> list[T | BaseException]:
    """The results of all calls, `most` of them under way at a time."""
    gate = asyncio.Semaphore(most)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await call()

    return await asyncio.gather(*map(one, calls), return_exceptions=True)


def new_id() -> str:
    """Of a request."""
    return str(uuid.uuid4())
