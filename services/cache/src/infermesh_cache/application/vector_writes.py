"""Writes on their way to the vector store: nobody waits for it, and it may be away for a while."""

import asyncio
from collections.abc import Sequence

import structlog

from infermesh_cache.semantic_ports import Removal, VectorRecord
from infermesh_cache.vector_ports import Removed, Stamped, VectorStore
from infermesh_common.errors import DeadlineExceeded, InfermeshError, Unavailable
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)
# More removals than that of one tenant become the removal of everything it had.
_MOST_REMOVALS = 1_000
_LAST_FLUSH_S = 2.0


def takes(removed: Removed, record: VectorRecord, stamp_us: int) -> bool:
    """Whether a removal takes a record as it was written at a time."""
    removal = removed.removal
    if stamp_us > removed.stamp_us:
        return False
    if removal.entry_id:
        return record.entry_id == removal.entry_id
    if removal.model:
        return record.model == removal.model
    return removal.everything or removal.tag in record.tags


class VectorWrites:
    """A bounded queue of records, and the removals, which are never dropped.

    Their order does not matter: both carry the time at which they were made.

    Args:
        store: written to.
        metrics: counts what waits, what was written and what was dropped.
        most: records that may wait; beyond it the oldest is dropped. It stays in the index of this
            process.
        batch: most records of one write.
        interval_ms: time for writes to gather, in milliseconds.
        longest_pause_ms: after failures the pause doubles up to it.
    """

    def __init__(
        self,
        store: VectorStore,
        metrics: Metrics,
        *,
        most: int,
        batch: int,
        interval_ms: int,
        longest_pause_ms: int,
    ) -> None:
        self._store = store
        self._most = most
        self._batch = batch
        self._interval_s = interval_ms / 1000
        self._longest_pause_s = longest_pause_ms / 1000
        self._records: dict[tuple[str, str], Stamped] = {}
        self._removals: dict[str, dict[Removal, int]] = {}
        self._waiting = asyncio.Event()
        self._gauge = metrics.gauge("infermesh_vector_queue")
        self._writes = metrics.counter("infermesh_vector_writes_total")

    def __len__(self) -> int:
        return len(self._records) + sum(map(len, self._removals.values()))

    def put(self, tenant: str, item: Stamped) -> None:
        """A record is to be written."""
        key = (tenant, item.record.entry_id)
        self._records.pop(key, None)
        self._records[key] = item
        if len(self._records) > self._most:
            del self._records[next(iter(self._records))]
            self._writes.labels("dropped").inc()
        self._changed()

    def remove(self, tenant: str, removed: Removed) -> None:
        """A removal is to be written; records that wait and that it takes are not any more."""
        self.forget(tenant, removed)
        removals = self._removals.setdefault(tenant, {})
        removals[removed.removal] = removed.stamp_us
        if len(removals) > _MOST_REMOVALS:
            # Losing entries is safe, keeping them is not.
            self._removals[tenant] = {Removal(everything=True): max(removals.values())}
        self._changed()

    def forget(self, tenant: str, removed: Removed) -> None:
        """Records that wait and that a removal takes are not to be written any more."""
        entry_id = removed.removal.entry_id
        keys = [(tenant, entry_id)] if entry_id else [k for k in self._records if k[0] == tenant]
        for key in keys:
            item = self._records.get(key)
            if item is not None and takes(removed, item.record, item.stamp_us):
                del self._records[key]
        self._gauge.set(len(self))

    async def run(self) -> None:
        """Writes until cancelled."""
        pause_s = self._interval_s
        while True:
            await self._waiting.wait()
            await asyncio.sleep(pause_s)
            try:
                await self.flush()
                pause_s = self._interval_s
            except InfermeshError as error:
                pause_s = min(self._longest_pause_s, max(pause_s, 0.05) * 2)
                _log.info("vectors_not_written", reason=error.reason, waiting=len(self))

    async def flush(self) -> None:
        """Writes everything that waits.

        Raises:
            InfermeshError: the store cannot be written to; what is left goes on waiting.
        """
        while self._waiting.is_set():
            for tenant in list(self._removals):
                await self._write_removals(tenant)
            batch = [(key, self._records[key]) for key in list(self._records)[: self._batch]]
            if batch:
                await self._write(batch)
            self._changed()

    async def close(self) -> None:
        """Writes what waits if that is done soon."""
        try:
            async with asyncio.timeout(_LAST_FLUSH_S):
                await self.flush()
        except (InfermeshError, TimeoutError):
            _log.warning("vectors_lost_from_the_store", count=len(self))

    async def _write_removals(self, tenant: str) -> None:
        while removals := self._removals.get(tenant):
            removal, stamp_us = next(iter(removals.items()))
            await self._store.remove(tenant, Removed(removal, stamp_us))
            current = self._removals.get(tenant, {})
            # The same one may have been asked for again in the meantime.
            if current.get(removal) == stamp_us:
                del current[removal]
            if not current:
                self._removals.pop(tenant, None)

    async def _write(self, batch: Sequence[tuple[tuple[str, str], Stamped]]) -> None:
        try:
            await self._store.put([(tenant, item) for (tenant, _), item in batch])
        except (Unavailable, DeadlineExceeded):
            raise
        except InfermeshError as error:
            # The store cannot hold one of them: writing it again would hold up all others.
            _log.warning("vectors_refused_by_the_store", reason=error.reason, count=len(batch))
            self._writes.labels("dropped").inc(len(batch))
        else:
            self._writes.labels("written").inc(len(batch))
        for key, item in batch:
            if self._records.get(key) is item:
                del self._records[key]

    def _changed(self) -> None:
        self._gauge.set(len(self))
        if len(self):
            self._waiting.set()
        else:
            self._waiting.clear()
