"""The use case on a store that fails in the middle."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from infermesh_cache.adapters.outbound.change_log import RedisChangeLog
from infermesh_cache.adapters.outbound.codec import EntryCodec
from infermesh_cache.adapters.outbound.redis_entries import RedisEntryStore
from infermesh_cache.application.cache import Cache, LeaseMaker, LookupQuery
from infermesh_cache.application.flights import Flights
from infermesh_cache.application.sweeper import Sweeper
from infermesh_cache.domain.entry import Answer
from infermesh_cache.domain.keys import Slot
from infermesh_cache.domain.outcomes import Hit
from infermesh_cache.domain.policy import CacheRules
from infermesh_cache.domain.selection import Scope, Selection
from infermesh_cache.ports import Maintained, Put
from infermesh_common.background import end_tasks
from infermesh_common.errors import Unavailable
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import eventually

RULES = CacheRules(True, 60_000, 10_000, 10_000, True, 1_000, 0)
QUERY = LookupQuery(b"f" * 32, None, False, 0)
ANSWER = Answer(b"42", "small", "main", None, ())


class Declared:
    """Two tenants."""

    def rules_of(self, tenant: str) -> CacheRules:
        return RULES

    def tenants(self) -> dict[str, CacheRules | None]:
        return {"acme": RULES, "globex": RULES}


class Unmaintained:
    """A real store, but that it is always over its bound and fails to do anything about it."""

    def __init__(self, entries: RedisEntryStore) -> None:
        self.find, self.renew, self.release = entries.find, entries.renew, entries.release
        self.holds, self.forget, self.count = entries.holds, entries.forget, entries.count
        self.outdate_flights, self.remove_batch = entries.outdate_flights, entries.remove_batch
        self.holdings = entries.holdings
        self._put = entries.put
        self.asked: list[str] = []

    async def put(
        self,
        slot: Slot,
        answer: Answer,
        stored: bytes,
        *,
        token: str,
        ttl_ms: int,
        max_tenant_bytes: int,
    ) -> Put:
        put = await self._put(
            slot, answer, stored, token=token, ttl_ms=ttl_ms, max_tenant_bytes=max_tenant_bytes
        )
        return replace(put, over_bound=True)

    async def maintain(self, tenant: str, max_tenant_bytes: int | None) -> Maintained:
        self.asked.append(tenant)
        raise Unavailable("REDIS_UNAVAILABLE", "redis failed.")


@pytest.fixture
def failing(entries: RedisEntryStore) -> Unmaintained:
    return Unmaintained(entries)


@pytest.fixture
async def cache(
    failing: Unmaintained, codec: EntryCodec, change_log: RedisChangeLog, metrics: Metrics
) -> AsyncIterator[Cache]:
    new_lease = LeaseMaker(5_000)
    flights = Flights(failing, new_lease=new_lease, poll_ms=1_000)
    yield Cache(
        entries=failing,
        codec=codec,
        policies=Declared(),
        flights=flights,
        new_lease=new_lease,
        changes=change_log,
        copy_lease_ms=1,
        metrics=metrics,
    )
    await flights.close()


@pytest.mark.parametrize(
    "selection", [Selection(Scope.ALL), Selection(Scope.MODEL, "small"), Selection(Scope.TAG, "t")]
)
async def test_a_batch_removes_what_was_there_when_the_invalidation_began_and_no_more(
    entries: RedisEntryStore, codec: EntryCodec, selection: Selection
) -> None:
    answer = replace(ANSWER, tags=("t",))

    async def put(name: bytes) -> Slot:
        slot = Slot("acme", 0, name * 32)
        encoded = await codec.encode(slot, answer, 60_000)
        await entries.put(slot, answer, encoded, token="", ttl_ms=60_000, max_tenant_bytes=10**6)
        return slot

    before, replaced = await put(b"a"), await put(b"b")
    generation = await entries.outdate_flights("acme")
    # Stored or replaced after the beginning, and met by the scan.
    replaced, after = await put(b"b"), await put(b"c")
    removed = await entries.remove_batch(
        "acme", selection, before_generation=generation, cursor="0"
    )
    assert (removed.count, removed.cursor) == (1, "0")
    assert [await entries.holds(slot) for slot in (before, replaced, after)] == [False, True, True]


async def test_an_answer_is_stored_even_if_room_cannot_be_made(
    cache: Cache, failing: Unmaintained
) -> None:
    stored = await cache.store("acme", QUERY.fingerprint, ANSWER, token="", ttl_ms=60_000)
    assert (stored.version, stored.reason) == (1, "")
    assert failing.asked == ["acme"]
    found = await cache.lookup("acme", QUERY)
    assert isinstance(found, Hit) and found.entry.answer == ANSWER


async def test_a_sweep_that_fails_is_left_for_the_next_round(
    cache: Cache, failing: Unmaintained
) -> None:
    sweeper = Sweeper(cache, Declared(), interval_ms=1)
    await sweeper.sweep()
    # A store that is down is not asked once more for every tenant.
    assert failing.asked == ["acme"]
    task = asyncio.create_task(sweeper.run())
    await eventually(lambda: len(failing.asked) >= 3)
    await end_tasks([task])
