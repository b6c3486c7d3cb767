"""EventTracker: usage events from the stream into the ledger, at least once, counted once.

An entry is acknowledged after the transaction that stores it, so whatever happens in between, it
comes again; the ledger knows it by its event id then. The order of every round: what this consumer
was given before and did not acknowledge, what others hold for too long, what is new.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from infermesh_analytics.domain.event import InvalidEvent, LedgerEvent
from infermesh_analytics.ports import (
    EventRefused,
    LedgerUnavailable,
    LedgerWriter,
    StreamEntry,
    StreamUnavailable,
    UsageStream,
)
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)
_FIRST_RETRY_S = 0.05
# Reading an event takes tens of microseconds: after as many of them, RPCs get their turn.
_DECODED_AT_ONCE = 50
_TRIMMED = "the stream was trimmed before the event was read"

T = TypeVar("T")
Received = tuple[StreamEntry, LedgerEvent]
Sleep = Callable[[float], Awaitable[None]]


class EventTracker:
    """Consumes the usage stream for ever. One a process; several processes share the work.

    Args:
        stream: where events come from.
        ledger: where they go.
        decode: reads one event; raises InvalidEvent.
        metrics: counts events by result, and the lag.
        claim_interval_s: time between two looks for entries that other consumers abandoned.
        tidy_interval_s: time between two trims of the stream.
        linger_s: time between two reads, unless one says that more is there: a transaction an event
            would cost ten times the event.
        longest_retry_s: bound of the delay between two tries, which doubles from 50 ms.
        now: clock of the claims, seconds.
        sleep: waits between tries and between trims.
    """

    def __init__(
        self,
        stream: UsageStream,
        ledger: LedgerWriter,
        decode: Callable[[bytes], LedgerEvent],
        metrics: Metrics,
        *,
        claim_interval_s: float,
        tidy_interval_s: float,
        linger_s: float,
        longest_retry_s: float,
        now: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._stream = stream
        self._ledger = ledger
        self._decode = decode
        self._linger_s = linger_s
        self._longest_retry_s = longest_retry_s
        self._sleep = sleep
        self._claims = _Timer(claim_interval_s, now)
        self._tidy_interval_s = tidy_interval_s
        self._stream_failures = 0
        self._lag = metrics.gauge("infermesh_ledger_lag_events")
        self._overruns = metrics.counter("infermesh_ledger_overruns_total")
        events = metrics.counter("infermesh_ledger_events_total")
        self._stored = events.labels("stored")
        self._duplicates = events.labels("duplicate")
        self._dead = events.labels("dead")

    async def run(self) -> None:
        """Runs until cancelled."""
        await self._patiently(self._ledger.prepare)
        while True:
            try:
                await self._consume()
            except StreamUnavailable as error:
                delay_s = self._delay_s(self._stream_failures)
                self._stream_failures += 1
                _log.warning("usage_stream_unavailable", error=str(error), retry_s=delay_s)
                await self._sleep(delay_s)

    async def keep_tidy(self) -> None:
        """Trims the stream and shows the lag until cancelled.

        Beside `run`, for the lag matters most while the database is down and `run` waits for it.
        """
        while True:
            try:
                self._lag.set(await self._stream.tidy())
            except StreamUnavailable as error:
                _log.warning("usage_stream_not_tidied", error=str(error))
            await self._sleep(self._tidy_interval_s)

    async def _consume(self) -> None:
        """Rounds until the stream fails; then what was not acknowledged is this consumer's own."""
        await self._stream.open()
        await self._take_own()
        while True:
            if self._claims.is_due() and await self._stream.claim_abandoned():
                await self._take_own()
            batch = await self._stream.read_new()
            self._stream_failures = 0
            if batch.overrun:
                self._overruns.inc()
                _log.error("usage_events_lost", reason=_TRIMMED)
            await self._take(batch.entries)
            if batch.entries and not batch.full:
                await asyncio.sleep(self._linger_s)

    async def _take_own(self) -> None:
        last = "0"
        while entries := await self._stream.read_own(last):
            await self._take(entries)
            last = entries[-1].entry_id

    async def _take(self, entries: Sequence[StreamEntry]) -> None:
        """Stores or buries every one of `entries` and acknowledges it."""
        received: list[Received] = []
        unusable: list[tuple[StreamEntry, str]] = []
        for place, entry in enumerate(entries):
            if place % _DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                received.append((entry, self._read(entry)))
            except InvalidEvent as error:
                unusable.append((entry, str(error)))
        unusable += await self._store(received)
        put_aside = {entry.entry_id for entry, _ in unusable}
        await self._stream.acknowledge(
            [entry.entry_id for entry in entries if entry.entry_id not in put_aside]
        )
        for entry, reason in unusable:
            if await self._stream.bury(entry, reason):
                self._dead.inc()
                _log.error("usage_event_dead", entry_id=entry.entry_id, reason=reason)

    def _read(self, entry: StreamEntry) -> LedgerEvent:
        if entry.payload is None:
            raise InvalidEvent(_TRIMMED)
        return self._decode(entry.payload)

    async def _store(self, received: Sequence[Received]) -> list[tuple[StreamEntry, str]]:
        """Stores `received`; returns the entries that the database refuses, with its reason.

        One bad event makes its whole transaction fail: halving finds it in log2(n) tries.
        """
        if not received:
            return []
        events = [event for _, event in received]
        try:
            stored = await self._patiently(lambda: self._ledger.store(events))
        except EventRefused as error:
            if len(received) == 1:
                return [(received[0][0], f"refused by the database: {error}")]
            middle = len(received) // 2
            return await self._store(received[:middle]) + await self._store(received[middle:])
        self._stored.inc(len(stored))
        self._duplicates.inc(len(received) - len(stored))
        return []

    async def _patiently(self, operation: Callable[[], Awaitable[T]]) -> T:
        """The result of `operation`, tried until the database works."""
        failures = 0
        while True:
            try:
                return await operation()
            except LedgerUnavailable as error:
                delay_s = self._delay_s(failures)
                failures += 1
                _log.warning("ledger_unavailable", error=str(error), retry_s=delay_s)
                await self._sleep(delay_s)

    def _delay_s(self, failures: int) -> float:
        # The exponent is bounded too: 2 ** failures would outgrow a float after a long night.
        return min(self._longest_retry_s, _FIRST_RETRY_S * 2.0 ** min(failures, 30))


class _Timer:
    """Due at once, then every `interval_s`."""

    def __init__(self, interval_s: float, now: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._now = now
        self._due_at_s = float("-inf")

    def is_due(self) -> bool:
        """Whether it is time; the next interval begins when it is."""
        moment_s = self._now()
        if moment_s < self._due_at_s:
            return False
        self._due_at_s = moment_s + self._interval_s
        return True
