"""Tier 1: exact entries with single flight across replicas."""

import asyncio
import functools
import secrets
from dataclasses import dataclass

import structlog

from infermesh_cache.application.flights import Flights
from infermesh_cache.domain.entry import Answer
from infermesh_cache.domain.keys import Slot, check_tenant
from infermesh_cache.domain.outcomes import (
    STORE_LEASE_LOST,
    Hit,
    InFlight,
    Lease,
    Miss,
    MissReason,
    Stored,
)
from infermesh_cache.domain.policy import STORE_TOO_LARGE, CacheRules
from infermesh_cache.domain.selection import One, Selection, Selector
from infermesh_cache.ports import (
    AnswerCodec,
    ChangeLog,
    Changes,
    EntryStore,
    Holdings,
    Policies,
)
from infermesh_common.errors import InfermeshError
from infermesh_common.telemetry.metrics import Metrics

_FIRST_CURSOR = "0"
# A lowered bound may ask for more evictions than one store should wait for; the sweeper does the
# rest.
_ROUNDS_OF_A_STORE = 20

_log = structlog.get_logger(__name__)


class LeaseMaker:
    """Makes leases that nobody can guess.

    Args:
        ttl_ms: how long a lease is held unless it is renewed.
    """

    def __init__(self, ttl_ms: int) -> None:
        self.ttl_ms = ttl_ms

    def __call__(self) -> Lease:
        """A lease to ask for."""
        return Lease(secrets.token_hex(16), self.ttl_ms)


@dataclass(frozen=True, slots=True)
class LookupQuery:
    """What a lookup asks for.

    Attributes:
        fingerprint: of the request, 32 bytes.
        max_age_us: oldest acceptable entry, in microseconds; None for any.
        single_flight: on a miss, lead or join the flight.
        wait_ms: join it at most this long; 0 not to wait.
    """

    fingerprint: bytes
    max_age_us: int | None
    single_flight: bool
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What a tenant has stored and may store.

    Attributes:
        holdings: entries and bytes.
        limit_bytes: bytes it may use.
        epoch: its cache epoch.
    """

    holdings: Holdings
    limit_bytes: int
    epoch: int


class Cache:
    """Looks answers up, stores them, and lets identical requests share one flight.

    Every method raises `FailedPrecondition` when the tenant is empty or not declared, and
    `Unavailable` or `DeadlineExceeded` when the store does not answer in time.

    Args:
        entries: where entries and leases are.
        codec: their stored form.
        policies: the tenants' policies.
        flights: those who wait in this process.
        new_lease: makes the lease to ask for.
        changes: where those who keep copies learn what to forget.
        copy_lease_ms: how long they may serve copies without asking, in milliseconds.
        metrics: counts lookups, stores and evictions.
    """

    def __init__(
        self,
        *,
        entries: EntryStore,
        codec: AnswerCodec,
        policies: Policies,
        flights: Flights,
        new_lease: LeaseMaker,
        changes: ChangeLog,
        copy_lease_ms: int,
        metrics: Metrics,
    ) -> None:
        self._entries = entries
        self._codec = codec
        self._policies = policies
        self._flights = flights
        self._new_lease = new_lease
        self._changes = changes
        self._copy_lease_s = copy_lease_ms / 1000
        self._lookups = metrics.counter("infermesh_cache_lookups_total")
        self._stores = metrics.counter("infermesh_cache_stores_total")
        self._evictions = metrics.counter("infermesh_cache_evictions_total")

    async def lookup(self, tenant: str, query: LookupQuery) -> Hit | Lease | Miss:
        """The entry, the right to make it, or neither."""
        rules = self._rules(tenant)
        outcome = await self._find(tenant, rules, query)
        self._lookups.labels(tenant, outcome_name(outcome)).inc()
        return outcome

    async def peek(self, tenant: str, query: LookupQuery) -> Hit | None:
        """The entry, without joining or leading a flight; a miss is not counted."""
        rules = self._rules(tenant)
        if not rules.enabled:
            return None
        slot = Slot(tenant, rules.epoch, query.fingerprint)
        found = await self._entries.find(slot, max_age_us=query.max_age_us)
        if not isinstance(found, Hit):
            return None
        self._lookups.labels(tenant, outcome_name(found)).inc()
        return found

    async def entry(self, tenant: str, fingerprint: bytes) -> Hit | None:
        """An entry that is proposed for another request; not counted as a lookup."""
        found = await self._entries.find(self._slot(tenant, fingerprint))
        return found if isinstance(found, Hit) else None

    async def _find(self, tenant: str, rules: CacheRules, query: LookupQuery) -> Hit | Lease | Miss:
        slot = Slot(tenant, rules.epoch, query.fingerprint)
        if not rules.enabled:
            return Miss(MissReason.NOT_FOUND)
        joins = query.single_flight and rules.single_flight
        found = await self._entries.find(
            slot, max_age_us=query.max_age_us, lease=self._new_lease() if joins else None
        )
        if not isinstance(found, InFlight):
            return found
        wait_ms = rules.wait_ms(query.wait_ms)
        if wait_ms > 0 and (came := await self._flights.wait(slot, found, wait_ms)) is not None:
            return came
        return Miss(MissReason.WAIT_TIMED_OUT)

    async def store(
        self, tenant: str, fingerprint: bytes, answer: Answer, *, token: str, ttl_ms: int
    ) -> Stored:
        """Keeps `answer` for at most `ttl_ms`, unless the policy or a lost lease forbids it.

        Args:
            tenant: whose entry it is.
            fingerprint: of the request, 32 bytes.
            answer: what to keep.
            token: of the lease held; empty to store without one.
            ttl_ms: more than 0.
        """
        rules = self._rules(tenant)
        slot = Slot(tenant, rules.epoch, fingerprint)
        stored = await self._put(slot, rules, answer, token, ttl_ms)
        self._stores.labels(tenant, stored.reason.lower() or "stored").inc()
        return stored

    async def _put(
        self, slot: Slot, rules: CacheRules, answer: Answer, token: str, ttl_ms: int
    ) -> Stored:
        if objection := rules.objection(len(answer.body)):
            return Stored(reason=objection)
        ttl_ms = rules.keep_ms(ttl_ms)
        encoded = await self._codec.encode(slot, answer, ttl_ms)
        if rules.too_large_as_stored(len(encoded)):
            return Stored(reason=STORE_TOO_LARGE)
        put = await self._entries.put(
            slot,
            answer,
            encoded,
            token=token,
            ttl_ms=ttl_ms,
            max_tenant_bytes=rules.max_tenant_bytes,
        )
        if put.version is None:
            return Stored(reason=STORE_LEASE_LOST)
        if put.version > 1:
            await self._replaced(slot.tenant)
        self._count_evicted(slot.tenant, put.evicted)
        if put.over_bound:
            await self._make_room(slot.tenant, rules.max_tenant_bytes)
        return Stored(version=put.version)

    async def _replaced(self, tenant: str) -> None:
        try:
            await self._changes.note(tenant)
        except InfermeshError as error:
            # The answer is stored all the same; copies of the old one live on for their time.
            _log.warning("replacement_not_told", tenant=tenant, reason=error.reason)

    async def _make_room(self, tenant: str, max_tenant_bytes: int) -> None:
        try:
            await self.maintain(tenant, max_tenant_bytes, rounds=_ROUNDS_OF_A_STORE)
        except InfermeshError as error:
            # The answer is stored all the same.
            _log.warning("bound_not_enforced", tenant=tenant, reason=error.reason)

    async def renew(self, tenant: str, fingerprint: bytes, token: str) -> bool:
        """Keeps a lease; False when it had been lost."""
        slot = self._slot(tenant, fingerprint)
        return await self._entries.renew(slot, Lease(token, self._new_lease.ttl_ms))

    async def release(self, tenant: str, fingerprint: bytes, token: str) -> None:
        """Gives a lease up without an answer; does nothing when it is not held."""
        await self._entries.release(self._slot(tenant, fingerprint), token)

    async def invalidate(self, tenant: str, selector: Selector, *, dry_run: bool) -> int:
        """Removes the entries that `selector` names and returns how many there were.

        Answers of flights that began before are not stored after it, and no copy that somebody
        keeps is served after it. What flights that begin meanwhile store is left alone.

        Args:
            tenant: whose entries.
            selector: which.
            dry_run: count, remove nothing.
        """
        slot_of = functools.partial(Slot, tenant, self._rules(tenant).epoch)
        if dry_run:
            if isinstance(selector, One):
                return int(await self._entries.holds(slot_of(selector.fingerprint)))
            return await self._entries.count(tenant, selector)
        if isinstance(selector, One):
            count = int(await self._entries.forget(slot_of(selector.fingerprint)))
        else:
            count = await self._remove(tenant, selector)
        await self._changes.note(tenant)
        await asyncio.sleep(self._copy_lease_s)
        return count

    async def changes(self, cursor: str) -> Changes:
        """What those who keep copies of entries must forget; see `ChangeLog.since`."""
        return await self._changes.since(cursor)

    async def _remove(self, tenant: str, selection: Selection) -> int:
        generation = await self._entries.outdate_flights(tenant)
        count, cursor = 0, _FIRST_CURSOR
        while True:
            removed = await self._entries.remove_batch(
                tenant, selection, before_generation=generation, cursor=cursor
            )
            count += removed.count
            cursor = removed.cursor
            if cursor == _FIRST_CURSOR:
                return count

    async def stats(self, tenant: str) -> Stats:
        """What `tenant` has stored and may store."""
        rules = self._rules(tenant)
        holdings = await self._entries.holdings(tenant)
        return Stats(holdings, rules.max_tenant_bytes, rules.epoch)

    async def maintain(self, tenant: str, max_tenant_bytes: int | None, *, rounds: int) -> None:
        """Clears expired entries away and enforces the bound, if one is given.

        Args:
            tenant: whose entries.
            max_tenant_bytes: bound; None for none.
            rounds: most batches of work.
        """
        for _ in range(rounds):
            done = await self._entries.maintain(tenant, max_tenant_bytes)
            self._count_evicted(tenant, done.evicted)
            if not done.more:
                return

    def _rules(self, tenant: str) -> CacheRules:
        return self._policies.rules_of(check_tenant(tenant))

    def _slot(self, tenant: str, fingerprint: bytes) -> Slot:
        return Slot(tenant, self._rules(tenant).epoch, fingerprint)

    def _count_evicted(self, tenant: str, evicted: int) -> None:
        if evicted:
            self._evictions.labels(tenant).inc(evicted)


def outcome_name(outcome: Hit | Lease | Miss) -> str:
    """The outcome of a lookup as metrics and logs name it."""
    if isinstance(outcome, Hit):
        return "shared" if outcome.shared else "hit"
    if isinstance(outcome, Lease):
        return "lease"
    return outcome.reason.name.lower()
