"""The hot tier: records of all tenants in this process, each tenant's in an index of its own."""

import asyncio
from collections.abc import Callable, Sequence

from infermesh_cache.adapters.outbound.vectors.checks import check_record, unit_vector
from infermesh_cache.adapters.outbound.vectors.tenant_index import TenantIndex
from infermesh_cache.adapters.outbound.vectors.worker import Steps, Worker
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats, Near
from infermesh_cache.vector_ports import Removed, Stamped
from infermesh_common.errors import InfermeshError, ResourceExhausted
from infermesh_common.telemetry.metrics import Metrics

# Rows that a thread takes into a graph at a time, records that a step loads or removes: some
# milliseconds.
_ROWS_A_STEP = 8
_RECORDS_A_STEP = 64
# Rows that a search goes through one by one because the graph has not taken them in yet: loading
# waits beyond it.
_MOST_PENDING = 2048


class HotIndex:
    """Implements `HotTier` for one embedding space.

    Memory is bounded by the number of records, of a tenant and in all; where a bound is reached,
    the least recently used of the tenant go, or of the tenant that holds most.

    Args:
        space: of all vectors.
        metrics: counts records, evictions.
        quota: most records of a tenant, by its name.
        category_quota: most of one category of a tenant, by their names; None: only the tenant's.
        max_records: of all tenants together.
        max_text_bytes: longest text of a record.
        exact_below: partitions (context and scope) of fewer records are searched exactly.
        max_queued: calls that may wait for its thread; more are refused.
        build_threads: that build graphs, between lookups.
    """

    def __init__(
        self,
        space: EmbeddingSpace,
        metrics: Metrics,
        *,
        quota: Callable[[str], int],
        category_quota: Callable[[str, str], int | None] = lambda tenant, category: None,
        max_records: int,
        max_text_bytes: int,
        exact_below: int,
        max_queued: int,
        build_threads: int,
    ) -> None:
        self._rows_a_step = _ROWS_A_STEP * build_threads
        self._build_threads = build_threads
        self._space = space
        self._quota = quota
        self._category_quota = category_quota
        self._max_records = max_records
        self._max_text_bytes = max_text_bytes
        self._exact_below = exact_below
        self._tenants: dict[str, TenantIndex] = {}
        self._records = 0
        self._worker = Worker("vectors", max_queued=max_queued)
        self._building: asyncio.Task[None] | None = None
        self._gauge = metrics.gauge("infermesh_vector_records")
        self._evictions = metrics.counter("infermesh_vector_evictions_total")

    async def nearest(
        self,
        tenant: str,
        context: str,
        scopes: Sequence[str],
        vector: Floats,
        limit: int,
        now_us: int,
    ) -> Sequence[Near]:
        """See `HotTier.nearest`."""
        unit = unit_vector(vector, self._space.dimension)

        def work() -> Sequence[Near]:
            index = self._tenants.get(tenant)
            if index is None or limit <= 0:
                return ()
            return index.nearest(context, scopes, unit, limit, now_us)

        return await self._worker.run(work)

    async def put(self, tenant: str, item: Stamped) -> frozenset[str]:
        """See `HotTier.put`."""
        check_record(item.record, self._max_text_bytes)
        unit = unit_vector(item.record.vector, self._space.dimension)
        quota = self._quota(tenant)
        if quota <= 0:
            raise ResourceExhausted(
                "VECTOR_QUOTA_EXCEEDED", "The tenant may not keep questions for similarity."
            )
        evicted = await self._worker.run(lambda: self._put(tenant, item, unit, quota))
        self._build()
        return evicted

    def _put(self, tenant: str, item: Stamped, unit: Floats, quota: int) -> frozenset[str]:
        index = self._of(tenant)
        if index.stamp_of(item.record.entry_id) > item.stamp_us:
            return frozenset()
        evicted = set[str]()
        if not index.has(item.record.entry_id):
            category = item.record.category
            most = self._category_quota(tenant, category)
            while most is not None and index.count(category) >= most:
                self._evict(tenant, index, category)
                evicted.add(tenant)
            while len(index) >= quota:
                self._evict(tenant, index)
                evicted.add(tenant)
            while self._records >= self._max_records:
                largest = max(self._tenants, key=lambda name: len(self._tenants[name]))
                self._evict(largest, self._tenants[largest])
                evicted.add(largest)
        before = len(index)
        index.put(item, unit)
        self._count(len(index) - before)
        return frozenset(evicted)

    async def load(self, tenant: str, items: Sequence[Stamped], now_us: int) -> bool:
        """See `HotTier.load`. What cannot be stored is left out."""
        quota = self._quota(tenant)

        def steps() -> Steps[bool]:
            for number, item in enumerate(items):
                if item.record.expire_time_us > now_us and not self._load(tenant, item, quota):
                    return False
                if number % _RECORDS_A_STEP == _RECORDS_A_STEP - 1:
                    yield
            yield
            while self._pending(tenant) > _MOST_PENDING:
                self._step_of(tenant)
                yield
            return True

        fits = await self._worker.run_steps(steps)
        self._build()
        return fits

    def _load(self, tenant: str, item: Stamped, quota: int) -> bool:
        index = self._of(tenant)
        known_us = index.stamp_of(item.record.entry_id)
        if known_us >= item.stamp_us:
            return True
        if known_us < 0 and (len(index) >= quota or self._records >= self._max_records):
            return False
        most = self._category_quota(tenant, item.record.category)
        if known_us < 0 and most is not None and index.count(item.record.category) >= most:
            return False
        try:
            unit = unit_vector(item.record.vector, self._space.dimension)
        except InfermeshError:
            # Another hand wrote it into the store; nobody can find it there either.
            return True
        before = len(index)
        index.put(item, unit)
        self._count(len(index) - before)
        return True

    async def set_answer(
        self, tenant: str, entry_id: str, answer: str, stamp_us: int
    ) -> Stamped | None:
        """See `HotTier.set_answer`."""

        def work() -> Stamped | None:
            index = self._tenants.get(tenant)
            return index.set_answer(entry_id, answer, stamp_us) if index else None

        return await self._worker.run(work)

    async def remove(self, tenant: str, removed: Removed, *, dry_run: bool) -> int:
        """See `HotTier.remove`. Finds everything first, so that a lookup sees the same or less."""

        def steps() -> Steps[int]:
            if (index := self._tenants.get(tenant)) is None:
                return 0
            names = list(index.matches(removed))
            if not dry_run:
                yield from self._drop_all(tenant, index, names)
            return len(names)

        return await self._worker.run_steps(steps)

    async def sweep(self, now_us: int) -> int:
        """Removes what has expired, of all tenants; how many records."""

        def steps() -> Steps[int]:
            swept = 0
            for tenant, index in list(self._tenants.items()):
                names = list(index.expired(now_us))
                yield from self._drop_all(tenant, index, names)
                swept += len(names)
            return swept

        return await self._worker.run_steps(steps)

    async def count(self, tenant: str) -> int:
        """See `HotTier.count`."""
        return await self._worker.run(lambda: len(self._tenants.get(tenant, ())))

    async def holds(self, tenant: str, entry_ids: Sequence[str]) -> frozenset[str]:
        """See `HotTier.holds`."""

        def work() -> frozenset[str]:
            index = self._tenants.get(tenant)
            return frozenset(name for name in entry_ids if index and index.has(name))

        return await self._worker.run(work)

    async def page(self, tenant: str, after: int, limit: int) -> tuple[Sequence[Stamped], int]:
        """See `HotTier.page`."""

        def work() -> tuple[Sequence[Stamped], int]:
            index = self._tenants.get(tenant)
            return index.page(after, limit) if index else ((), -1)

        return await self._worker.run(work)

    async def settled(self) -> None:
        """Returns when every graph has taken in everything."""
        while self._building is not None and not self._building.done():
            await asyncio.wait([self._building])

    async def close(self) -> None:
        """Ends its thread."""
        if self._building is not None:
            self._building.cancel()
            await asyncio.wait([self._building])
        self._worker.close()

    def _of(self, tenant: str) -> TenantIndex:
        if (index := self._tenants.get(tenant)) is None:
            index = TenantIndex(self._space.dimension, self._exact_below, self._build_threads)
            self._tenants[tenant] = index
        return index

    def _evict(self, tenant: str, index: TenantIndex, category: str | None = None) -> None:
        count = index.evict(category)
        self._evictions.labels(tenant).inc(count)
        self._count(-count)

    def _drop_all(self, tenant: str, index: TenantIndex, names: Sequence[str]) -> Steps[None]:
        for number, name in enumerate(names):
            if index.drop(name):
                self._count(-1)
            if number % _RECORDS_A_STEP == _RECORDS_A_STEP - 1:
                yield
        if not len(index) and self._tenants.get(tenant) is index:
            # Its arrays too: a tenant without records costs nothing.
            del self._tenants[tenant]

    def _count(self, more: int) -> None:
        self._records += more
        self._gauge.set(self._records)

    def _pending(self, tenant: str) -> int:
        index = self._tenants.get(tenant)
        return max((part.pending for part in index.partitions), default=0) if index else 0

    def _step_of(self, tenant: str) -> bool:
        index = self._tenants.get(tenant)
        for partition in index.partitions if index else ():
            if partition.has_work:
                partition.step(self._rows_a_step)
                return True
        return False

    def _build(self) -> None:
        """Goes on with the graphs in the background until they have taken in everything."""
        if self._building is None or self._building.done():
            self._building = asyncio.create_task(self._build_all(), name="vector-graphs")

    async def _build_all(self) -> None:
        def steps() -> Steps[None]:
            while any([self._step_of(tenant) for tenant in list(self._tenants)]):
                yield

        await self._worker.run_steps(steps)
