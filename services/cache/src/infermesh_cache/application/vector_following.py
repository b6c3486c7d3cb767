"""What this process knows of a tenant's records in the store: loading them, following others.

Records are read by the time at which they were written: first from now backwards, so that the
latest are there first; then what is new, again and again. A writer whose clock is behind ours is
seen as long as it is not further behind than the overlap of two readings.
"""

from collections.abc import Callable

import structlog

from infermesh_cache.application.vector_writes import VectorWrites, takes
from infermesh_cache.semantic_ports import Removal, VectorRecord
from infermesh_cache.vector_ports import HotTier, Page, Removed, VectorStore
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)
_FIRST_SPAN_US = 60_000_000
_WIDER = 4
_FEW = 100
_MOST_REMOVALS = 10_000
_BACKFILL = 256


class Following:
    """One tenant.

    Args:
        tenant: whose records.
        hot: filled.
        store: read.
        writes: told of removals of others.
        metrics: counts what was loaded.
        seen: is told the stamps of others, so that what is written here later is later.
        overlap_us: see the module.
        keep_us: nothing in the store is older.
    """

    def __init__(
        self,
        tenant: str,
        hot: HotTier,
        store: VectorStore,
        writes: VectorWrites,
        metrics: Metrics,
        *,
        seen: Callable[[int], None],
        overlap_us: int,
        keep_us: int,
    ) -> None:
        self.tenant = tenant
        self._hot = hot
        self._store = store
        self._writes = writes
        self._loaded = metrics.counter("infermesh_vector_loaded_total")
        self._seen = seen
        self._overlap_us = overlap_us
        self._keep_us = keep_us
        self._identity: str | None = None
        self._warm = False
        self._spilled = False
        self._cursor_us = 0
        self._removals: dict[Removal, int] = {}

    @property
    def is_complete(self) -> bool:
        """Whether the index holds all that the store does, as of the last reading."""
        return self._warm and not self._spilled

    def spill(self) -> None:
        """Some of the tenant's records are in the store only."""
        self._spilled = True

    def note(self, removed: Removed) -> None:
        """A removal took place."""
        known_us = self._removals.pop(removed.removal, 0)
        self._removals[removed.removal] = max(known_us, removed.stamp_us)
        if len(self._removals) > _MOST_REMOVALS:
            del self._removals[next(iter(self._removals))]

    def is_removed(self, record: VectorRecord, stamp_us: int) -> bool:
        """Whether a removal known here takes a record of the store."""
        candidates = [
            Removal(entry_id=record.entry_id),
            Removal(everything=True),
            Removal(model=record.model),
            *(Removal(tag=tag) for tag in record.tags),
        ]
        return any(
            takes(Removed(removal, self._removals[removal]), record, stamp_us)
            for removal in candidates
            if removal in self._removals
        )

    async def advance(self, clock: Callable[[], int]) -> None:
        """Loads everything the first time, and what is new after that.

        Raises:
            InfermeshError: the store cannot be read; the next call goes on.
        """
        identity = await self._store.open()
        if self._identity is not None and identity != self._identity:
            _log.warning("vector_store_was_emptied", tenant=self.tenant)
            await self._backfill()
        self._identity = identity
        now_us = clock()
        if self._warm:
            await self._read_new(now_us)
        else:
            self._cursor_us = now_us
            await self._warm_up(now_us)

    async def _warm_up(self, now_us: int) -> None:
        oldest_us = now_us - self._keep_us
        until_us, span_us = now_us + self._overlap_us, _FIRST_SPAN_US
        while until_us > oldest_us:
            page = await self._store.page(self.tenant, until_us - span_us, until_us)
            if not await self._apply(page, now_us, "warm_up"):
                self.spill()
                break
            if page.from_us > until_us - span_us:
                span_us = until_us - page.from_us
            elif len(page.records) + len(page.removals) < _FEW:
                span_us *= _WIDER
            until_us = page.from_us
        self._warm = True

    async def _read_new(self, now_us: int) -> None:
        from_us, until_us = self._cursor_us - self._overlap_us, now_us + self._overlap_us
        while until_us > from_us:
            page = await self._store.page(self.tenant, from_us, until_us)
            if not await self._apply(page, now_us, "other_replica"):
                self.spill()
            until_us = page.from_us
        self._cursor_us = now_us

    async def _apply(self, page: Page, now_us: int, why: str) -> bool:
        self._seen(max((item.stamp_us for item in page.records), default=0))
        self._seen(max((item.stamp_us for item in page.removals), default=0))
        for removed in page.removals:
            if self._removals.get(removed.removal, 0) < removed.stamp_us:
                self.note(removed)
                self._writes.forget(self.tenant, removed)
                await self._hot.remove(self.tenant, removed, dry_run=False)
        items = [i for i in page.records if not self.is_removed(i.record, i.stamp_us)]
        held = await self._hot.holds(self.tenant, [item.record.entry_id for item in items])
        fits = await self._hot.load(self.tenant, items, now_us)
        self._loaded.labels(why).inc(len(items) - len(held))
        return fits

    async def _backfill(self) -> None:
        """Writes what the index holds into a store that lost it."""
        place = 0
        while place >= 0:
            items, place = await self._hot.page(self.tenant, place, _BACKFILL)
            if items:
                await self._store.put([(self.tenant, item) for item in items])
        for removal, stamp_us in self._removals.items():
            if not removal.entry_id:
                await self._store.remove(self.tenant, Removed(removal, stamp_us))
