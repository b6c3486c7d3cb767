"""The course of a soak: saturation, then load at half of it with faults on, then the books."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from benchmarks.processes import NotReady, wait_until
from benchmarks.soak.books import Verdict, compare, read_books, written
from benchmarks.soak.load import Load, Outcomes, Questions, client_of, saturate
from benchmarks.soak.provider import Provider
from benchmarks.soak.samples import POOLED, Sample, Sampler, Trend, trend
from benchmarks.soak.scripts import (
    OF_CONNECTIONS,
    REFUSES_S,
    TURN_S,
    Script,
    closing,
    faulty,
    healthy,
    steady,
)
from benchmarks.soak.stand import Soaked
from tools.simulator.counts import CountsReport
from tools.simulator.faults import Fault

TAG = "soak"
WORKERS = 32
SATURATION_S = 10.0
FILL_REQUESTS = 3000
"""All different: what the mesh keeps of requests is full then, and does not look like a leak."""
_SETTLE_S = 120.0


@dataclass(frozen=True, slots=True)
class Soak:
    """What is to be done.

    Attributes:
        mesh: to soak.
        failing: the provider that fails.
        steady: the provider that stands in.
        minutes: of load.
        rate: requests a second; None: half of saturation.
        seed: of chance.
        say: is told how it goes, a line at a time.
    """

    mesh: Soaked
    failing: Provider
    steady: Provider
    minutes: float
    rate: float | None
    seed: int
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        saturation: replies a second without faults; None: it was not measured.
        rate: requests a second.
        outcomes: what clients saw.
        trends: of each process.
        samples: of each process.
        faults: how often each struck.
        verdicts: of every invariant.
        late_s: how late the sending of a request was at most.
        held_back_s: how long there were too many unanswered to send more.
        spent: US dollars in the ledger.
    """

    saturation: float | None
    rate: float
    outcomes: Outcomes
    trends: Mapping[str, Trend]
    samples: Mapping[str, Sequence[Sample]]
    faults: Mapping[str, int]
    verdicts: Sequence[Verdict]
    late_s: float
    held_back_s: float
    spent: str


@dataclass(frozen=True, slots=True)
class _Loaded:
    saturation: float | None
    rate: float
    outcomes: Outcomes
    sampler: Sampler
    before: Mapping[str, int]
    late_s: float
    held_back_s: float


def run(soak: Soak) -> Result:
    """All of it.

    Raises:
        NotReady: the mesh did not come to rest, or a process ended.
    """
    loaded = asyncio.run(_under_load(soak))
    mesh, total = soak.mesh, len(loaded.outcomes.good)
    wait_until(lambda: mesh.under_way() == 0, "the end of all requests", _SETTLE_S)
    with contextlib.suppress(NotReady):
        # What is missing then is lost, which is for the verdicts to say.
        wait_until(lambda: written(mesh.operator, TAG) >= total, "the last event", _SETTLE_S)
    open_connections = _close_idle(soak)
    counts = [soak.failing.counts(), soak.steady.counts()]
    soak.say(f"reading {total} events")
    books = read_books(mesh.operator, TAG)
    trends = {name: trend(samples) for name, samples in loaded.sampler.samples.items()}
    broken = loaded.outcomes.broken
    verdicts = [
        Verdict("every reply is an answer or a clear error, in time", not broken, _first(broken)),
        *compare(books, loaded.outcomes.good, counts),
        *_of_processes(loaded, trends),
        Verdict("no connection is left", not open_connections, f"{open_connections} open"),
        *_of_descriptors(loaded.before, _descriptors(mesh.pids)),
    ]
    return Result(
        loaded.saturation,
        loaded.rate,
        loaded.outcomes,
        trends,
        loaded.sampler.samples,
        _struck(counts),
        verdicts,
        loaded.late_s,
        loaded.held_back_s,
        f"{books.total:f}",
    )


async def _under_load(soak: Soak) -> _Loaded:
    mesh = soak.mesh
    soak.failing.load(healthy())
    soak.steady.load(steady())
    async with client_of(mesh) as client:
        saturation, rate = None, soak.rate
        different = Questions(mesh.keys, "fill", soak.seed, repeats=0)
        await saturate(client, different, WORKERS, seconds=0, requests=FILL_REQUESTS)
        if rate is None:
            questions = Questions(mesh.keys, "saturation", soak.seed + 1)
            saturation = await saturate(client, questions, WORKERS, seconds=SATURATION_S)
            rate = saturation / 2
        told = f"saturation {saturation:.0f}/s; " if saturation else ""
        soak.say(f"{told}{rate:.0f} requests a second for {soak.minutes:g} minutes")
    # Connections of clients are counted neither before nor after.
    _close_idle(soak)
    before = _descriptors(mesh.pids)
    soak.failing.load(faulty(OF_CONNECTIONS[0], soak.seed))
    for provider in (soak.failing, soak.steady):
        provider.reset()
    async with client_of(mesh) as client, _turns(soak):
        load = Load(client, Questions(mesh.keys, TAG, soak.seed + 2))
        with Sampler(mesh.pids) as sampler:
            outcomes = await load.run(rate, soak.minutes * 60)
    soak.failing.load(healthy())
    late_s, held_back_s = load.most_late_s, load.held_back_s
    return _Loaded(saturation, rate, outcomes, sampler, before, late_s, held_back_s)


@contextlib.asynccontextmanager
async def _turns(soak: Soak) -> AsyncIterator[None]:
    """Faults of connections take turns while the block runs."""

    async def take_turns() -> None:
        seeds = random.Random(soak.seed)
        for fault in itertools.cycle(OF_CONNECTIONS):
            for kind, seconds in ((fault, TURN_S), (Fault.CONNECT_REFUSED, REFUSES_S)):
                script: Script = faulty(kind, seeds.randrange(2**31))
                await asyncio.to_thread(soak.failing.load, script)
                await asyncio.sleep(seconds)

    task = asyncio.get_running_loop().create_task(take_turns())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _close_idle(soak: Soak) -> int:
    """Closes connections to providers that nobody uses; how many there still are after a while."""

    def still_open() -> int:
        soak.failing.load(closing(healthy()))
        soak.steady.load(closing(steady()))
        return sum(p.counts()["connections"]["open"] for p in (soak.failing, soak.steady))

    with contextlib.suppress(NotReady):
        wait_until(lambda: still_open() == 0, "the end of all connections", 20)
    return still_open()


def _descriptors(pids: Mapping[str, int]) -> dict[str, int]:
    try:
        return {name: psutil.Process(pid).num_fds() for name, pid in pids.items()}
    except psutil.NoSuchProcess as error:
        raise NotReady(f"a process of the mesh has ended: {error}") from error


def _of_processes(loaded: _Loaded, trends: Mapping[str, Trend]) -> list[Verdict]:
    gone = loaded.sampler.gone
    verdicts = [Verdict("no process has ended", not gone, ", ".join(gone) or "none")]
    for name, found in trends.items():
        slope = f"{found.mb_per_minute:+.2f} (+/- {found.margin:.2f}) MB a minute"
        verdicts.append(Verdict(f"{name}'s memory does not grow", not found.leaks_memory, slope))
        files = f"{found.first:g} open files, {found.last:g} at last"
        verdicts.append(
            Verdict(f"{name}'s open files do not grow", not found.leaks_descriptors, files)
        )
    return verdicts


def _of_descriptors(before: Mapping[str, int], after: Mapping[str, int]) -> list[Verdict]:
    return [
        Verdict(
            f"{name} has no more files open than before",
            after[name] <= before[name] + POOLED,
            f"{before[name]} before, {after[name]} after",
        )
        for name in before
    ]


def _struck(counts: Sequence[CountsReport]) -> dict[str, int]:
    struck: dict[str, int] = {}
    for report in counts:
        for name, tally in report["faults"].items():
            struck[name] = struck.get(name, 0) + tally["requests"]
    return struck


def _first(broken: Sequence[str]) -> str:
    return f"{len(broken)}; the first: {broken[0]}" if broken else "none"
