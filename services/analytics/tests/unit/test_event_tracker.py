"""EventTracker against a stream and a ledger in memory: order, retries, isolation."""

import asyncio
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from infermesh_analytics.adapters.inbound.events import decode_event
from infermesh_analytics.application.tracker import EventTracker, Sleep
from infermesh_analytics.domain.event import LedgerEvent
from infermesh_analytics.ports import (
    EventRefused,
    LedgerUnavailable,
    StreamBatch,
    StreamEntry,
    StreamUnavailable,
)
from infermesh_analytics.testing import make_event
from infermesh_common.telemetry.metrics import Metrics


class Finished(Exception):
    """Ends a tracker that has nothing left to read."""


@dataclass
class FakeStream:
    """A consumer's view of the stream; every call is written down."""

    new: list[StreamEntry] = field(default_factory=list)
    own: list[StreamEntry] = field(default_factory=list)
    abandoned: list[StreamEntry] = field(default_factory=list)
    overrun: bool = False
    fails: dict[str, int] = field(default_factory=dict)
    batch: int = 100
    calls: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    dead: dict[str, str] = field(default_factory=dict)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fails.get(name, 0) > 0:
            self.fails[name] -= 1
            raise StreamUnavailable(name)

    async def open(self) -> None:
        self._call("open")

    async def read_own(self, after: str) -> Sequence[StreamEntry]:
        self._call("read_own")
        behind = [e for e in self.own if int(e.entry_id) > int(after)]
        return behind[: self.batch]

    async def claim_abandoned(self) -> int:
        self._call("claim")
        self.own += self.abandoned
        count, self.abandoned = len(self.abandoned), []
        return count

    async def read_new(self) -> StreamBatch:
        self._call("read_new")
        if not self.new:
            raise Finished
        entries, self.new = self.new[: self.batch], self.new[self.batch :]
        self.own += entries
        overrun, self.overrun = self.overrun, False
        return StreamBatch(entries, overrun)

    async def acknowledge(self, entry_ids: Collection[str]) -> None:
        self._call("acknowledge")
        self.acknowledged += entry_ids
        self.own = [e for e in self.own if e.entry_id not in entry_ids]

    async def bury(self, entry: StreamEntry, reason: str) -> bool:
        self._call("bury")
        first = entry.entry_id not in self.dead
        self.dead[entry.entry_id] = reason
        self.own = [e for e in self.own if e.entry_id != entry.entry_id]
        return first

    async def tidy(self) -> int:
        self._call("tidy")
        return len(self.new)


@dataclass
class FakeLedger:
    """A ledger that may be away, and refuses events of the model "refused"."""

    away: int = 0
    prepared: bool = False
    events: dict[UUID, LedgerEvent] = field(default_factory=dict)
    tries: int = 0

    async def prepare(self) -> None:
        self._try()
        self.prepared = True

    async def store(self, events: Sequence[LedgerEvent]) -> Collection[UUID]:
        assert self.prepared
        self._try()
        if any(event.model == "refused" for event in events):
            raise EventRefused("CheckViolation 23514")
        fresh = {e.event_id: e for e in events if e.event_id not in self.events}
        self.events |= fresh
        return fresh.keys()

    def _try(self) -> None:
        self.tries += 1
        if self.away > 0:
            self.away -= 1
            raise LedgerUnavailable("down")


@dataclass
class Harness:
    """A tracker and everything around it."""

    metrics: Metrics
    stream: FakeStream = field(default_factory=FakeStream)
    ledger: FakeLedger = field(default_factory=FakeLedger)
    delays_s: list[float] = field(default_factory=list)
    while_waiting: Callable[[], None] = lambda: None
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def entry(self, payload: bytes | None = None, *, model: str = "small") -> StreamEntry:
        content = make_event(model=model).SerializeToString() if payload is None else payload
        return StreamEntry(str(next(self._ids)), content)

    async def _sleep(self, delay_s: float) -> None:
        self.delays_s.append(delay_s)
        self.while_waiting()

    def tracker(
        self, *, claim_interval_s: float = 1000.0, sleep: Sleep | None = None
    ) -> EventTracker:
        moments = itertools.count()
        return EventTracker(
            self.stream,
            self.ledger,
            decode_event,
            self.metrics,
            claim_interval_s=claim_interval_s,
            tidy_interval_s=7.0,
            linger_s=0.0,
            longest_retry_s=0.3,
            now=lambda: float(next(moments)),
            sleep=sleep or self._sleep,
        )

    async def run(self, claim_interval_s: float = 1000.0) -> None:
        """Until everything new has been read."""
        with pytest.raises(Finished):
            await self.tracker(claim_interval_s=claim_interval_s).run()

    def counted(self, result: str) -> float:
        return self.metrics.sample("infermesh_ledger_events_total", {"result": result})


@pytest.fixture
def harness(metrics: Metrics) -> Harness:
    return Harness(metrics)


async def test_own_pending_entries_come_first_then_abandoned_then_new_ones(
    harness: Harness,
) -> None:
    stream = harness.stream
    stream.own = [harness.entry(), harness.entry()]
    stream.abandoned = [harness.entry()]
    stream.new = [harness.entry()]
    stream.batch = 1
    await harness.run()
    assert stream.acknowledged == ["1", "2", "3", "4"]
    assert stream.calls.index("claim") < stream.calls.index("read_new")
    assert harness.counted("stored") == 4


async def test_an_event_is_counted_once_however_often_it_is_delivered(harness: Harness) -> None:
    event = make_event().SerializeToString()
    harness.stream.new = [harness.entry(event) for _ in range(3)]
    harness.stream.batch = 2
    await harness.run()
    assert (harness.counted("stored"), harness.counted("duplicate")) == (1, 2)
    assert harness.stream.acknowledged == ["1", "2", "3"]


async def test_nothing_is_acknowledged_while_the_database_is_down(harness: Harness) -> None:
    harness.stream.new = [harness.entry(), harness.entry()]
    harness.ledger.away = 8

    def look() -> None:
        assert not harness.stream.acknowledged and not harness.stream.dead

    harness.while_waiting = look
    await harness.run()
    assert len(harness.delays_s) == 8
    assert harness.stream.acknowledged == ["1", "2"]


async def test_retries_slow_down_to_a_bound(harness: Harness) -> None:
    harness.ledger.away = 5
    harness.stream.new = [harness.entry()]
    await harness.run()
    assert harness.delays_s == [0.05, 0.1, 0.2, 0.3, 0.3]


async def test_a_night_of_failures_does_not_overflow_the_delay(harness: Harness) -> None:
    harness.ledger.away = 3000
    await harness.run()
    assert harness.delays_s[-1] == 0.3


@pytest.mark.parametrize("bad", range(7))
async def test_one_refused_event_is_put_aside_and_the_others_are_stored(
    harness: Harness, bad: int
) -> None:
    harness.stream.new = [harness.entry(model="refused" if n == bad else "good") for n in range(7)]
    await harness.run()
    assert harness.stream.dead == {
        str(bad + 1): "refused by the database: CheckViolation 23514",
    }
    assert len(harness.ledger.events) == 6
    assert str(bad + 1) not in harness.stream.acknowledged
    assert (harness.counted("stored"), harness.counted("dead")) == (6, 1)
    # prepare, the whole, then two halves a level of the tree.
    assert harness.ledger.tries <= 2 + 2 * 3


async def test_a_database_that_goes_away_during_isolation_puts_nothing_else_aside(
    harness: Harness,
) -> None:
    harness.stream.new = [harness.entry(model=m) for m in ("a", "refused", "b", "refused")]
    ledger = harness.ledger

    def comes_and_goes() -> None:
        ledger.away = 1 if ledger.tries % 3 == 0 else 0

    harness.while_waiting = comes_and_goes
    ledger.away = 2
    await harness.run()
    assert sorted(harness.stream.dead) == ["2", "4"]
    assert len(ledger.events) == 2


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"\x0a\x03abc"])
async def test_an_unreadable_event_is_put_aside_and_blocks_nothing(
    harness: Harness, payload: bytes
) -> None:
    harness.stream.new = [harness.entry(), harness.entry(payload), harness.entry()]
    await harness.run()
    assert list(harness.stream.dead) == ["2"]
    assert harness.stream.acknowledged == ["1", "3"]
    assert harness.counted("dead") == 1


async def test_an_entry_trimmed_before_it_was_read_is_accounted_for(harness: Harness) -> None:
    harness.stream.own = [StreamEntry("1", None)]
    await harness.run()
    assert harness.stream.dead == {"1": "the stream was trimmed before the event was read"}
    assert harness.counted("dead") == 1


async def test_a_letter_that_another_replica_buried_is_not_counted_here(harness: Harness) -> None:
    harness.stream.new = [harness.entry(b"bad")]
    harness.stream.dead = {"1": "by another replica"}
    await harness.run()
    assert harness.counted("dead") == 0


@pytest.mark.parametrize("call", ["open", "read_own", "claim", "read_new", "acknowledge"])
async def test_a_stream_that_fails_anywhere_loses_and_doubles_nothing(
    harness: Harness, call: str
) -> None:
    harness.stream.new = [harness.entry() for _ in range(4)]
    harness.stream.batch = 2
    harness.stream.fails = {call: 2}
    await harness.run(claim_interval_s=0)
    assert sorted(harness.stream.acknowledged) == ["1", "2", "3", "4"]
    assert harness.counted("stored") == 4
    assert len(harness.delays_s) == 2


async def test_a_failed_burial_is_repeated(harness: Harness) -> None:
    harness.stream.new = [harness.entry(b"bad"), harness.entry()]
    harness.stream.fails = {"bury": 1}
    await harness.run()
    assert harness.stream.dead == {"1": "not a UsageEvent"}
    assert harness.stream.acknowledged == ["2"]


async def test_abandoned_entries_are_looked_for_now_and_then(harness: Harness) -> None:
    harness.stream.new = [harness.entry() for _ in range(10)]
    harness.stream.batch = 1
    # The clock of the harness gains a second a look.
    await harness.run(claim_interval_s=4.0)
    assert harness.stream.calls.count("read_new") == 11
    assert harness.stream.calls.count("claim") == 3


async def test_lost_events_are_shown(harness: Harness) -> None:
    harness.stream.new = [harness.entry()]
    harness.stream.overrun = True
    await harness.run()
    assert harness.metrics.sample("infermesh_ledger_overruns_total") == 1


async def test_the_lag_is_shown_while_the_ledger_is_stuck_and_the_stream_comes_and_goes(
    harness: Harness,
) -> None:
    harness.stream.new = [harness.entry(), harness.entry()]
    harness.stream.fails = {"tidy": 2}

    async def until_third(delay_s: float) -> None:
        assert delay_s == 7.0
        if harness.stream.calls.count("tidy") == 3:
            raise Finished

    with pytest.raises(Finished):
        await harness.tracker(sleep=until_third).keep_tidy()
    assert harness.metrics.sample("infermesh_ledger_lag_events") == 2


async def test_it_ends_when_it_is_told_to(harness: Harness) -> None:
    async def forever(_: float) -> None:
        await asyncio.Event().wait()

    harness.ledger.away = 1
    task = asyncio.create_task(harness.tracker(sleep=forever).run())
    await asyncio.wait([task], timeout=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
