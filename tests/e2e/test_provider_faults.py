"""Every fault of the provider simulator, at every point of a request, on every surface: an error or
a whole answer, in time; nothing kept of what failed; every cent as the provider counts it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import aiohttp
import psutil
import pytest
import yaml

from infermesh_common.testing.resources import model, resource
from tools.simulator.faults import TABLE, Fault, Point
from tools.simulator.server import SimulatorInThread, simulator_in_thread

if TYPE_CHECKING:
    from tests.e2e.conftest import RunningMesh

ANSWER = "Paris is the capital of France."
USAGE = {"input": 14, "cached_input": 3, "output": 7}
TIMEOUTS = {"connectMs": 500, "firstTokenMs": 1500, "betweenTokensMs": 1000, "totalMs": 5000}
# Generous: the machine may be busy. A hang would last for ever.
DEADLINE_S = 60.0
OF_CONNECTIONS = [fault for fault in Fault if TABLE[fault].point is Point.CONNECT]
OF_REQUESTS = [fault for fault in Fault if TABLE[fault].point is not Point.CONNECT]
# They strike after the last byte that an answer needs.
WHOLE_ENOUGH = (
    Fault.HEADERS_OVERSIZED,
    Fault.TRAILER_NO_USAGE,
    Fault.TRAILER_NO_TERMINATOR,
    Fault.TRAILER_NO_FINAL_CHUNK,
    Fault.TRAILER_HANG,
    Fault.TRAILER_RESET,
)
BAD_BEFORE_CONTENT = [fault for fault in OF_REQUESTS if TABLE[fault].point is Point.HEADERS]


@dataclass(frozen=True)
class Surface:
    """A wire that clients speak, with and without a stream."""

    name: str
    path: str
    stream: bool
    ends_with: str = ""

    def body(self, model_name: str, prompt: str) -> dict[str, object]:
        body: dict[str, object] = {"model": model_name, "stream": self.stream}
        if self.path == "/v1/completions":
            return {**body, "prompt": prompt}
        if self.path == "/v1/responses":
            return {**body, "input": prompt}
        if self.path == "/v1/messages":
            body["max_tokens"] = 100
        return {**body, "messages": [{"role": "user", "content": prompt}]}


SURFACES = [
    Surface("chat", "/v1/chat/completions", False),
    Surface("chat-stream", "/v1/chat/completions", True, "data: [DONE]"),
    Surface("completions", "/v1/completions", False),
    Surface("completions-stream", "/v1/completions", True, "data: [DONE]"),
    Surface("responses", "/v1/responses", False),
    Surface("responses-stream", "/v1/responses", True, "event: response.completed"),
    Surface("messages", "/v1/messages", False),
    Surface("messages-stream", "/v1/messages", True, "event: message_stop"),
]


@dataclass(frozen=True)
class Got:
    """What a client got."""

    surface: Surface
    status: int
    headers: dict[str, str]
    text: str
    broken: bool
    took_s: float

    @property
    def ended(self) -> bool:
        """Whether the answer claims to be whole."""
        if self.status != 200 or self.broken:
            return False
        return self.surface.ends_with in self.text if self.surface.stream else True

    @property
    def tells(self) -> bool:
        """Whether it tells of an error in the surface's shape."""
        if self.status == 200:
            return "error" in self.text or "response.failed" in self.text
        error = json.loads(self.text)["error"]
        return bool(error["message"]) and bool(error["type"])


class Clients:
    """Asks on every surface."""

    def __init__(self, mesh: RunningMesh, session: aiohttp.ClientSession) -> None:
        self._mesh = mesh
        self._session = session
        self._at_once = asyncio.Semaphore(16)

    async def ask(self, surface: Surface, model_name: str, prompt: str) -> Got:
        headers = {"authorization": f"Bearer {self._mesh.key()}"}
        text, broken, started_s = "", False, time.monotonic()
        async with self._at_once:
            async with asyncio.timeout(DEADLINE_S):
                async with self._session.post(
                    self._mesh.url + surface.path,
                    json=surface.body(model_name, prompt),
                    headers=headers,
                ) as response:
                    try:
                        async for piece in response.content.iter_any():
                            text += piece.decode("utf-8", "replace")
                    except aiohttp.ClientError:
                        broken = True
                    sent = {name.lower(): value for name, value in response.headers.items()}
                    took_s = time.monotonic() - started_s
                    return Got(surface, response.status, sent, text, broken, took_s)


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorInThread]:
    with simulator_in_thread(script(faulty=True)) as running:
        yield running


def script(*, faulty: bool, **more: object) -> dict[str, object]:
    rules = [
        {"when": {"model": fault.value}, "fault": {"name": fault.value}} for fault in OF_REQUESTS
    ]
    answer = {"text": ANSWER, "usage": USAGE}
    return {"answer": answer, "rules": rules if faulty else [], **more}


@pytest.fixture(scope="module")
def faulty(mesh: RunningMesh, simulator: SimulatorInThread) -> Iterator[RunningMesh]:
    """The mesh with a provider a fault, so that no breaker hides another's."""
    documents = []
    for name in [*(fault.value for fault in Fault), "healthy"]:
        provider = f"sim-{name.replace('_', '-')}"
        url = f"{simulator.url}/v1"
        documents.append(resource("Provider", provider, baseUrl=url, timeouts=TIMEOUTS))
        documents.append(
            model(provider, provider=provider, upstreamModel=name, capabilities=["chat"])
        )
    target = mesh.info.resources_dir / "simulated.yaml"
    target.write_text(yaml.safe_dump_all(documents))
    with mesh.openai() as client:
        deadline_s = time.monotonic() + DEADLINE_S
        while "sim-healthy" not in {known.id for known in client.models.list()}:
            assert time.monotonic() < deadline_s
    yield mesh
    target.unlink()


def name_of(fault: Fault | str) -> str:
    return f"sim-{fault.replace('_', '-')}"


def judge(fault: Fault, got: Got) -> None:
    """A whole answer where there is one, an error that says so everywhere else."""
    told = f"{fault} on {got.surface.name}: {got.status} {got.text[-300:]}"
    if got.ended:
        assert is_whole(fault, got) or handed_on(fault, got), told
        assert ANSWER.split()[0] in got.text, told
        return
    assert got.tells, told
    if got.status != 200:
        assert got.status in (400, 413, 429, 500, 502, 503, 504, 529), told
    if got.surface.stream:
        assert got.surface.ends_with not in got.text, told


def is_whole(fault: Fault, got: Got) -> bool:
    """Whether the provider said everything that an answer needs."""
    if fault is Fault.TRAILER_WRONG_LENGTH:
        return got.surface.stream  # A stream ends by its last event.
    return TABLE[fault].answered or fault in WHOLE_ENOUGH


def handed_on(fault: Fault, got: Got) -> bool:
    """A body that does not say why it ended is the client's to judge; it is not kept."""
    return fault is Fault.TRAILER_NO_FINISH and not got.surface.stream


async def test_a_fault_is_an_error_or_no_fault_and_leaves_nothing_behind(
    faulty: RunningMesh, simulator: SimulatorInThread
) -> None:
    run = uuid.uuid4().hex
    router = psutil.Process(faulty.pid("router"))
    async with aiohttp.ClientSession() as session:
        clients = Clients(faulty, session)
        warm = [clients.ask(surface, name_of("healthy"), f"{run} warm") for surface in SURFACES]
        assert all(got.ended for got in await asyncio.gather(*warm))
        descriptors = router.num_fds()
        cases = [(fault, surface) for fault in OF_REQUESTS for surface in SURFACES]
        asked = [
            clients.ask(surface, name_of(fault), f"{run} {fault} {surface.name}")
            for fault, surface in cases
        ]
        answers = await asyncio.gather(*asked)
        for (fault, _), got in zip(cases, answers, strict=True):
            judge(fault, got)
            assert got.took_s < DEADLINE_S
        kept = {
            (fault, surface.name)
            for (fault, surface), got in zip(cases, answers, strict=True)
            if got.ended and not handed_on(fault, got)
        }
        simulator.load(script(faulty=False))
        try:
            await nothing_was_kept(clients, cases, kept, run)
        finally:
            simulator.load(script(faulty=True))
    await settled(lambda: faulty.in_flight("router") <= 1, "requests in flight")
    # Every answer may leave an idle connection to its provider behind, and nothing else.
    await settled(lambda: router.num_fds() <= descriptors + len(cases), "open descriptors")


async def nothing_was_kept(
    clients: Clients,
    cases: list[tuple[Fault, Surface]],
    kept: set[tuple[Fault, str]],
    run: str,
) -> None:
    """The same questions again: what failed is asked anew, and answered right."""

    async def again(fault: Fault, surface: Surface) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            got = await clients.ask(surface, name_of(fault), f"{run} {fault} {surface.name}")
            if got.ended or time.monotonic() > deadline_s:
                break  # A breaker may have to close first.
        told = f"{fault} on {surface.name}: {got.status} {got.text[-300:]}"
        assert got.ended and ANSWER.split()[0] in got.text, told
        if (fault, surface.name) not in kept:
            assert got.headers["x-infermesh-cache"] in ("miss", "shared", "unavailable"), told

    await asyncio.gather(*(again(fault, surface) for fault, surface in cases))


async def settled(condition, what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0)


@pytest.mark.parametrize("fault", OF_CONNECTIONS)
async def test_a_connection_that_fails_is_a_clear_error(
    faulty: RunningMesh, simulator: SimulatorInThread, fault: Fault
) -> None:
    run = uuid.uuid4().hex
    simulator.load(script(faulty=False, connections={"fault": fault.value}))
    try:
        async with aiohttp.ClientSession() as session:
            clients = Clients(faulty, session)
            answers = await asyncio.gather(
                *(
                    clients.ask(surface, name_of(fault), f"{run} {surface.name}")
                    for surface in SURFACES
                )
            )
    finally:
        simulator.load(script(faulty=True))
    for got in answers:
        assert not got.ended and got.tells, (fault, got)
        assert got.status in (500, 502, 503, 504, 529), (fault, got)


@pytest.mark.parametrize("fault", [*BAD_BEFORE_CONTENT, Fault.FIRST_BYTE_RESET])
async def test_another_model_answers_when_the_first_fails_before_its_first_word(
    faulty: RunningMesh, simulator: SimulatorInThread, fault: Fault
) -> None:
    if fault is Fault.HEADERS_OVERSIZED:
        pytest.skip("an answer behind a long header is an answer")
    policy = resource("RoutePolicy", "default", fallbacks={name_of(fault): [name_of("healthy")]})
    documents = {path: path.read_text() for path in faulty.info.resources_dir.glob("*.yaml")}
    holder = next(path for path, text in documents.items() if "kind: RoutePolicy" in text)
    changed = [
        (
            policy
            if (found["kind"], found["metadata"]["name"]) == ("RoutePolicy", "default")
            else found
        )
        for found in yaml.safe_load_all(documents[holder])
    ]
    holder.write_text(yaml.safe_dump_all(changed))
    try:
        async with aiohttp.ClientSession() as session:
            clients = Clients(faulty, session)
            for surface in SURFACES:
                deadline_s = time.monotonic() + DEADLINE_S
                while True:
                    prompt = f"{uuid.uuid4().hex} {fault}"
                    got = await clients.ask(surface, name_of(fault), prompt)
                    # The policy is reloaded a moment later.
                    if got.ended or time.monotonic() > deadline_s:
                        break
                assert got.ended and ANSWER.split()[0] in got.text, (fault, got)
                assert got.headers["x-infermesh-model"] == name_of("healthy")
    finally:
        holder.write_text(documents[holder])


async def test_the_ledger_says_what_the_provider_counted(
    faulty: RunningMesh, simulator: SimulatorInThread
) -> None:
    run = uuid.uuid4().hex
    healthy = name_of("healthy")
    before = simulator.counts()["models"].get("healthy", {}).get("tokens", {})
    async with aiohttp.ClientSession() as session:
        clients = Clients(faulty, session)
        prompts = [f"{run} {number % 30}" for number in range(120)]
        asked = [
            clients.ask(SURFACES[number % len(SURFACES)], healthy, prompt)
            for number, prompt in enumerate(prompts)
        ]
        assert all(got.ended for got in await asyncio.gather(*asked))
    after = simulator.counts()["models"]["healthy"]["tokens"]
    tokens = {name: after[name] - before.get(name, 0) for name in after}
    million = Decimal(1_000_000)
    plain = tokens["input"] + tokens["cache_write_input"] + tokens["output"] + tokens["reasoning"]
    expected = plain * Decimal(1) / million + tokens["cached_input"] * Decimal("0.5") / million

    def events() -> list[object]:
        with faulty.client("demo") as client:
            found = []
            for event in client.events(page_size=500):
                if len(found) >= 120:
                    break
                found.append(event)
            return [event for event in found if event.requested_model == healthy]

    await settled(lambda: len(events()) == 120, "120 events in the ledger")
    ledger = events()
    assert len({event.event_id for event in ledger}) == 120
    assert sum((event.decision.cost for event in ledger), Decimal(0)) == expected
