"""Stored questions of all tenants: an index in this process first, a store behind it.

Lookups are answered by the index. Only while it does not hold all of a tenant's records (they are
being loaded, or there are more than it may hold) is the store asked as well, and not waited for
longer than the stage may take. Writes are in the index at once and in the store soon after.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from infermesh_cache.application.vector_following import Following
from infermesh_cache.application.vector_writes import VectorWrites
from infermesh_cache.semantic_ports import Floats, Near, Removal, VectorRecord
from infermesh_cache.vector_ports import HotTier, Removed, Stamped, VectorStore
from infermesh_common.background import BackgroundTasks
from infermesh_common.errors import DeadlineExceeded, InfermeshError, Unavailable
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)
_EVERYTHING = Removal(everything=True)
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient, how often.

    Attributes:
        timeout_ms: longest time of a lookup.
        poll_ms: time between two looks at what other replicas wrote.
        overlap_ms: see `vector_following`.
        keep_ms: how long the store keeps records at the most.
        sweep_ms: time between two removals of what has expired.
        queue: most records that wait for the store.
        batch: most records of one write.
        flush_ms: time for writes to gather.
        longest_pause_ms: between two attempts to write.
    """

    timeout_ms: int
    poll_ms: int
    overlap_ms: int
    keep_ms: int
    sweep_ms: int
    queue: int
    batch: int
    flush_ms: int
    longest_pause_ms: int


class TieredVectorDatabase:
    """Implements `VectorDatabase` for one embedding space.

    Args:
        hot: the index.
        store: what lies behind it; None: nothing does, and records end with the process.
        metrics: counts lookups and writes.
        clock: microseconds since the epoch.
        pace: see `Pace`.
    """

    def __init__(
        self,
        hot: HotTier,
        store: VectorStore | None,
        metrics: Metrics,
        *,
        clock: Callable[[], int],
        pace: Pace,
    ) -> None:
        self._hot = hot
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._pace = pace
        self._writes: VectorWrites | None = None
        if store is not None:
            self._writes = VectorWrites(
                store,
                metrics,
                most=pace.queue,
                batch=pace.batch,
                interval_ms=pace.flush_ms,
                longest_pause_ms=pace.longest_pause_ms,
            )
        self._tenants: dict[str, Following] = {}
        self._last_stamp_us = 0
        self._wanted = asyncio.Event()
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._lookups = metrics.counter("infermesh_vector_lookups_total")

    def follow(self, tenant: str) -> None:
        """Begins to load a tenant's records; else that begins with its first call."""
        self._following(tenant)

    def is_complete(self, tenant: str) -> bool:
        """Whether the index alone answers for a tenant."""
        following = self._following(tenant)
        return following is None or following.is_complete

    async def nearest(
        self, tenant: str, context: str, scopes: Sequence[str], vector: Floats, limit: int
    ) -> Sequence[Near]:
        """See `VectorDatabase.nearest`."""
        now_us, following = self._clock(), self._following(tenant)
        timeout_s = self._pace.timeout_ms / 1000
        deadline_s = time.monotonic() + timeout_s
        more: asyncio.Task[Sequence[Near] | None] | None = None
        if following is not None and not following.is_complete:
            asked = self._from_store(following, context, scopes, vector, limit, now_us)
            more = asyncio.create_task(asked)
        try:
            async with asyncio.timeout(timeout_s):
                near = await self._hot.nearest(tenant, context, scopes, vector, limit, now_us)
            if more is None:
                self._lookups.labels("index").inc()
                return near
            # What the index knows is not given up for what the store may know.
            await asyncio.wait([more], timeout=max(0.0, deadline_s - time.monotonic()))
            stored = more.result() if more.done() else None
            return await self._merged(tenant, near, stored, limit)
        except TimeoutError as error:
            raise Unavailable("VECTORS_TIMEOUT", "The vector index took too long.") from error
        finally:
            if more is not None:
                more.cancel()

    async def _from_store(
        self,
        following: Following,
        context: str,
        scopes: Sequence[str],
        vector: Floats,
        limit: int,
        now_us: int,
    ) -> Sequence[Near] | None:
        """What the store knows; None when it does not say so in time."""
        assert self._store is not None, "asked only where there is one"
        try:
            found = await self._store.nearest(
                following.tenant, context, scopes, vector, limit, now_us
            )
        except InfermeshError:
            return None
        return [near for near, us in found if not following.is_removed(near.record, us)]

    async def _merged(
        self,
        tenant: str,
        near: Sequence[Near],
        stored: Sequence[Near] | None,
        limit: int,
    ) -> Sequence[Near]:
        if stored is None:
            self._lookups.labels("index_only").inc()
            return near
        # What the index holds it decides about: its record may be the later one.
        held = await self._hot.holds(tenant, [item.record.entry_id for item in stored])
        added = [item for item in stored if item.record.entry_id not in held]
        self._lookups.labels("index_and_store").inc()
        return sorted([*near, *added], key=lambda item: -item.similarity)[:limit]

    async def add(self, tenant: str, record: VectorRecord) -> None:
        """See `VectorDatabase.add`."""
        self._following(tenant)
        await self._put(tenant, Stamped(record, self._stamp_us()))

    async def _put(self, tenant: str, item: Stamped) -> None:
        for evicted in await self._hot.put(tenant, item):
            if (following := self._following(evicted)) is not None:
                following.spill()
        if self._writes is not None:
            self._writes.put(tenant, item)

    async def set_answer(self, tenant: str, entry_id: str, answer: str) -> bool:
        """See `VectorDatabase.set_answer`."""
        following = self._following(tenant)
        item = await self._hot.set_answer(tenant, entry_id, answer, self._stamp_us())
        if item is not None:
            if self._writes is not None:
                self._writes.put(tenant, item)
            return True
        if self._store is None or following is None or following.is_complete:
            return False
        try:
            stored = await self._store.get(tenant, entry_id)
        except (Unavailable, DeadlineExceeded):
            return False
        if stored is None or following.is_removed(stored.record, stored.stamp_us):
            return False
        await self._put(tenant, Stamped(replace(stored.record, answer=answer), self._stamp_us()))
        return True

    async def remove(self, tenant: str, removal: Removal, *, dry_run: bool = False) -> int:
        """See `VectorDatabase.remove`. Of records that are in the store only, those count that it
        names in time."""
        following = self._following(tenant)
        removed = Removed(removal, self._stamp_us())
        stored = await self._count_stored(tenant, removal)
        if not dry_run:
            if following is not None:
                following.note(removed)
            if self._writes is not None:
                self._writes.remove(tenant, removed)
        return max(stored, await self._hot.remove(tenant, removed, dry_run=dry_run))

    async def count(self, tenant: str) -> int:
        """See `VectorDatabase.count`."""
        return max(await self._count_stored(tenant, _EVERYTHING), await self._hot.count(tenant))

    async def run(self) -> None:
        """Loads, follows, writes and sweeps until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweep())
            if self._writes is not None:
                tasks.create_task(self._writes.run())
                tasks.create_task(self._follow_all())

    async def close(self) -> None:
        """Writes what waits, for a moment. The index and the store are closed by who made them."""
        if self._writes is not None:
            await self._writes.close()

    async def _count_stored(self, tenant: str, removal: Removal) -> int:
        if self._store is None or self.is_complete(tenant):
            return 0
        try:
            return await self._store.count(tenant, removal, self._clock())
        except (Unavailable, DeadlineExceeded):
            return 0

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._pace.sweep_ms / 1000)
            now_us = self._clock()
            try:
                await self._hot.sweep(now_us)
                if self._store is not None:
                    for tenant in list(self._tenants):
                        await self._store.purge(tenant, now_us)
            except InfermeshError as error:
                _log.info("vectors_not_swept", reason=error.reason)

    async def _follow_all(self) -> None:
        background = BackgroundTasks()
        busy: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._wanted.clear()
                for tenant, following in list(self._tenants.items()):
                    if tenant not in busy or busy[tenant].done():
                        busy[tenant] = background.start(self._advance(following), "vectors")
                try:
                    async with asyncio.timeout(self._pace.poll_ms / 1000):
                        await self._wanted.wait()
                except TimeoutError:
                    continue
        finally:
            await background.drain(0)

    async def _advance(self, following: Following) -> None:
        async with self._at_once:
            try:
                await following.advance(self._clock)
            except InfermeshError as error:
                _log.info("vectors_not_read", tenant=following.tenant, reason=error.reason)

    def _following(self, tenant: str) -> Following | None:
        if self._store is None or self._writes is None:
            return None
        if (following := self._tenants.get(tenant)) is None:
            following = self._tenants[tenant] = Following(
                tenant,
                self._hot,
                self._store,
                self._writes,
                self._metrics,
                seen=self._saw,
                overlap_us=self._pace.overlap_ms * 1000,
                keep_us=self._pace.keep_ms * 1000,
            )
            self._wanted.set()
        return following

    def _saw(self, stamp_us: int) -> None:
        self._last_stamp_us = max(self._last_stamp_us, stamp_us)

    def _stamp_us(self) -> int:
        """Now; later than any stamp before it that is known here, also when a clock is wrong."""
        self._last_stamp_us = max(self._clock(), self._last_stamp_us + 1)
        return self._last_stamp_us
