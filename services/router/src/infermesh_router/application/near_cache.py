"""Copies of cache entries in this process: a hit without a hop.

A copy is served only under a lease: the cache service was asked what has changed, and answered,
less than the lease ago, counted from the moment of asking. An invalidation returns only after that
time. So no copy is served after an invalidation has returned, whatever the network does meanwhile;
when the cache service cannot be asked, copies are not served at all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cachetools import LRUCache

from infermesh_common.context import current
from infermesh_common.telemetry.metrics import Metrics
from infermesh_router.domain.semantic import SemanticQuestion
from infermesh_router.ports import CachedAnswer, EntryChanges, ExactCache, Leased, Missed, NewEntry

# What a copy takes besides its body, roughly.
_OVERHEAD_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class _Copy:
    answer: CachedAnswer
    made_at_s: float
    good_until_s: float
    generation: tuple[int, int]


class Copies:
    """Copies of entries of all tenants, within a bound of bytes; the least recently used go first.

    Args:
        max_bytes: bound of them all.
        max_age_s: a copy is made anew after this time, so that the cache service learns what is in
            use.
        monotonic: clock, in seconds.
    """

    def __init__(
        self, *, max_bytes: int, max_age_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._copies: LRUCache[tuple[str, bytes], _Copy] = LRUCache(max_bytes, getsizeof=_size)
        self._max_age_s = max_age_s
        self._monotonic = monotonic
        self._lease_until_s = float("-inf")
        # Raised by what makes copies worthless; copies of an earlier generation are not served.
        self._of_all = 0
        self._of_tenant: dict[str, int] = {}

    def generation(self, tenant: str) -> tuple[int, int]:
        """What `put` asks for: taken before the entry was looked up."""
        return self._of_all, self._of_tenant.get(tenant, 0)

    def get(self, tenant: str, fingerprint: bytes) -> CachedAnswer | None:
        """The copy, if it may be served now; its age is that of now."""
        copy = self._copies.get((tenant, fingerprint))
        if copy is None:
            return None
        now_s = self._monotonic()
        if now_s >= self._lease_until_s:
            return None
        if now_s >= copy.good_until_s or copy.generation != self.generation(tenant):
            del self._copies[tenant, fingerprint]
            return None
        known = copy.answer
        age_s = known.age_s + now_s - copy.made_at_s
        return CachedAnswer(
            known.body, known.model, known.provider, known.usage, age_s, known.ttl_s
        )

    def put(
        self, tenant: str, fingerprint: bytes, answer: CachedAnswer, generation: tuple[int, int]
    ) -> None:
        """Keeps a copy of an entry that the cache service gave after `generation` was taken."""
        life_s = min(self._max_age_s, answer.ttl_s - answer.age_s)
        if life_s <= 0 or len(answer.body) + _OVERHEAD_BYTES > self._copies.maxsize:
            return
        now_s = self._monotonic()
        whole = replace(answer, shared=False)
        self._copies[tenant, fingerprint] = _Copy(whole, now_s, now_s + life_s, generation)

    def renew(self, changes: EntryChanges, asked_at_s: float) -> None:
        """Forgets what has changed, and serves the rest for another lease.

        Args:
            changes: what the cache service answered.
            asked_at_s: when it was asked, by the clock of this object.
        """
        if changes.tenants is None:
            self._of_all += 1
        for tenant in changes.tenants or ():
            self._of_tenant[tenant] = self._of_tenant.get(tenant, 0) + 1
        self._lease_until_s = asked_at_s + changes.lease_s


class NearCache:
    """Implements `ExactCache`: copies first, then the cache service.

    Args:
        inner: the cache service.
        copies: kept in this process.
        metrics: counts lookups.
    """

    def __init__(self, inner: ExactCache, copies: Copies, metrics: Metrics) -> None:
        self._inner = inner
        self._copies = copies
        lookups = metrics.counter("infermesh_near_cache_lookups_total")
        self._hits, self._misses = lookups.labels("hit"), lookups.labels("miss")

    async def lookup(
        self,
        fingerprint: bytes,
        *,
        max_age_s: int | None,
        single_flight: bool,
        wait_ms: int,
        semantic: SemanticQuestion | None = None,
    ) -> CachedAnswer | Leased | Missed:
        """See `ExactCache.lookup`."""
        tenant = current().caller().tenant
        copy = self._copies.get(tenant, fingerprint)
        if copy is not None and (max_age_s is None or copy.age_s <= max_age_s):
            self._hits.inc()
            return copy
        self._misses.inc()
        generation = self._copies.generation(tenant)
        found = await self._inner.lookup(
            fingerprint,
            max_age_s=max_age_s,
            single_flight=single_flight,
            wait_ms=wait_ms,
            semantic=semantic,
        )
        # An answer to another question is decided about each time.
        if isinstance(found, CachedAnswer) and found.semantic is None:
            self._copies.put(tenant, fingerprint, found, generation)
        return found

    async def store(self, fingerprint: bytes, lease_token: str, entry: NewEntry) -> str:
        """See `ExactCache.store`."""
        return await self._inner.store(fingerprint, lease_token, entry)

    async def renew(self, fingerprint: bytes, lease_token: str) -> bool:
        """See `ExactCache.renew`."""
        return await self._inner.renew(fingerprint, lease_token)

    async def release(self, fingerprint: bytes, lease_token: str) -> None:
        """See `ExactCache.release`."""
        await self._inner.release(fingerprint, lease_token)


def _size(copy: _Copy) -> int:
    return len(copy.answer.body) + _OVERHEAD_BYTES
