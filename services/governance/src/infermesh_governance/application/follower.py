"""Follows the issued keys in the store."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

import structlog

from infermesh_common.errors import DeadlineExceeded, Unavailable
from infermesh_governance.domain.keys import KeyRecord, is_forgettable
from infermesh_governance.ports import Head, KeyReader

_log = structlog.get_logger(__name__)
_Listener = Callable[[Mapping[str, KeyRecord]], None]


class KeyFollower:
    """Holds every issued key in memory and keeps up with the store.

    One task reads, so what is held never goes back in time. It reads what changed; it reads
    everything at the start, after a failure (another server may have taken over) and when the
    store has lost its content.

    Args:
        store: where issued keys are.
        listener: gets all keys when they were first read, and after each change.
        poll_s: longest time between two reads.
        forget_after_us: dead keys are forgotten after this time.
        now_us: microseconds since the epoch.
        monotonic: clock of staleness, in seconds.
    """

    def __init__(
        self,
        store: KeyReader,
        listener: _Listener,
        *,
        poll_s: float,
        forget_after_us: int,
        now_us: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._listener = listener
        self._poll_s = poll_s
        self._forget_after_us = forget_after_us
        self._now_us = now_us
        self._monotonic = monotonic
        self._keys: dict[str, KeyRecord] = {}
        self._head: Head | None = None
        self._resync = True
        self._failing = False
        self._next_forget_us: int | None = None
        self._confirmed_at: float | None = None
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    def staleness_s(self) -> float:
        """Seconds since the keys held were known to be those of the store; infinite before."""
        if self._confirmed_at is None:
            return float("inf")
        return self._monotonic() - self._confirmed_at

    def poke(self) -> None:
        """Asks for a read now; many at once make one."""
        self._wake.set()

    async def refresh(self) -> None:
        """Waits for a read that began after this call.

        Callers that wait at the same time share one read.

        Raises:
            Unavailable, DeadlineExceeded: the read failed.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self.poke()
        await done

    async def run(self) -> None:
        """Follows until cancelled."""
        while True:
            self._wake.clear()
            await self.read_once()
            with contextlib.suppress(TimeoutError):  # then a poll is due
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()

    async def read_once(self) -> None:
        """Reads, forgets what is due, and answers those who wait in `refresh`."""
        waiting, self._waiting = self._waiting, []
        failure: Unavailable | DeadlineExceeded | None = None
        try:
            await self._read()
        except (Unavailable, DeadlineExceeded) as error:
            failure = error
            if not self._failing:
                _log.warning("key_store_unreachable", reason=error.reason)
            self._failing = self._resync = True
        for done in waiting:
            if done.cancelled():
                continue
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)
        if failure is None:
            await self._forget()

    async def _read(self) -> None:
        began = self._monotonic()
        head = await self._store.head()
        held = self._head
        lost = held is not None and (head.epoch != held.epoch or head.version < held.version)
        if lost:
            _log.error("key_store_lost_content", version=head.version)
        if held is None or lost or self._resync:
            records = await self._store.changed(0, head.version)
            keys = {record.key_id: record for record in records}
        elif head.version > held.version:
            records = await self._store.changed(held.version, head.version)
            keys = self._keys | {record.key_id: record for record in records}
        else:
            keys = self._keys
        if self._resync:
            _log.info("keys_loaded", count=len(keys))
        self._head, self._resync, self._failing = head, False, False
        self._confirmed_at = began
        if held is None or keys != self._keys:
            self._hold(keys)

    def _hold(self, keys: dict[str, KeyRecord]) -> None:
        self._keys = keys
        ends = [end for record in keys.values() if (end := record.ended_us()) is not None]
        self._next_forget_us = min(ends) + self._forget_after_us if ends else None
        self._listener(keys)

    async def _forget(self) -> None:
        now_us = self._now_us()
        if self._next_forget_us is None or now_us < self._next_forget_us:
            return
        due = [
            record
            for record in self._keys.values()
            if is_forgettable(record, now_us=now_us, forget_after_us=self._forget_after_us)
        ]
        try:
            await self._store.forget(due)
        except (Unavailable, DeadlineExceeded) as error:
            _log.warning("keys_not_forgotten", reason=error.reason, count=len(due))
            return
        gone = {record.key_id for record in due}
        _log.info("keys_forgotten", count=len(due))
        self._hold({key_id: r for key_id, r in self._keys.items() if key_id not in gone})
