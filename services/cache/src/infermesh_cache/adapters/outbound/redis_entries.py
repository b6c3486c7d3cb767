"""Entries and leases in Redis."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from infermesh_cache.adapters.outbound.codec import CorruptEntry, EntryCodec
from infermesh_cache.adapters.outbound.scripts import Scripts
from infermesh_cache.adapters.outbound.uses import Uses
from infermesh_cache.domain.entry import Answer, Entry
from infermesh_cache.domain.keys import Slot, tenant_prefix
from infermesh_cache.domain.outcomes import Hit, InFlight, Lease, Miss, MissReason
from infermesh_cache.domain.selection import Scope, Selection
from infermesh_cache.ports import Holdings, Maintained, Put, Removed
from infermesh_common.redis import FAILURES
from infermesh_common.resilience import Dependency
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)
T = TypeVar("T")
Argument = str | bytes | int
_EVERYTHING = Selection(Scope.ALL)
_ABSENT = Miss(MissReason.NOT_FOUND)
# A replica that finds two corrupt values in a row has met somebody who writes them.
_ATTEMPTS = 2


class RedisEntryStore:
    """Implements `EntryStore`. One round trip an operation, but for misses and for what works in
    batches.

    Args:
        redis: the client.
        dependency: its breaker and bulkhead.
        codec: stored form of entries.
        metrics: counts corrupt entries.
        timeout_ms: longest time of one round trip, in milliseconds.
        uses_interval_ms: how often Redis is told which entries were used, in milliseconds.
        batch: most entries one script works on, so that none holds Redis up.
    """

    def __init__(
        self,
        redis: Redis,
        dependency: Dependency,
        codec: EntryCodec,
        metrics: Metrics,
        *,
        timeout_ms: int,
        uses_interval_ms: int,
        batch: int,
    ) -> None:
        self._redis = redis
        self._dependency = dependency
        self._codec = codec
        self._corrupt = metrics.counter("infermesh_cache_corrupt_entries_total")
        self._timeout_ms = timeout_ms
        self._batch = batch
        self._scripts = Scripts(redis)
        self._uses = Uses(self._touch, interval_ms=uses_interval_ms)

    async def ping(self) -> bool:
        """Readiness check: Redis answers."""
        await self._guarded(self._redis.ping)
        return True

    async def run(self) -> None:
        """Tells Redis which entries were used, until cancelled."""
        await self._uses.run()

    async def find(
        self,
        slot: Slot,
        *,
        max_age_us: int | None = None,
        not_before_us: int = 0,
        lease: Lease | None = None,
    ) -> Hit | Lease | InFlight | Miss:
        """See `EntryStore.find`. What cannot be decoded counts as absent and is removed."""
        if max_age_us is None and lease is None:
            # Costs Redis a tenth of what the script does.
            value = await self._guarded(lambda: self._redis.get(slot.entry_key))
            if value is not None:
                entry = await self._open(slot, _bytes(value))
                if entry is not None and entry.create_time_us >= not_before_us:
                    return Hit(entry)
            return _ABSENT
        return await self._find_or_lease(slot, max_age_us, not_before_us, lease)

    async def _find_or_lease(
        self, slot: Slot, max_age_us: int | None, not_before_us: int, lease: Lease | None
    ) -> Hit | Lease | InFlight | Miss:
        arguments: tuple[Argument, ...] = (
            slot.member,
            not_before_us,
            "" if max_age_us is None else max_age_us,
            lease.token if lease else "",
            lease.ttl_ms if lease else 0,
        )
        for _ in range(_ATTEMPTS):
            reply = await self._run(self._scripts.lookup, slot.prefix, *arguments)
            if reply[0] == b"lease" and lease is not None:
                return lease
            if reply[0] == b"flight":
                return InFlight(max(0, _number(reply[1])), _number(reply[2]))
            if reply[0] != b"hit":
                break
            if (entry := await self._open(slot, _bytes(reply[1]))) is not None:
                return Hit(entry)
        return _ABSENT

    async def _open(self, slot: Slot, value: bytes) -> Entry | None:
        """The entry in `value`, noted as used; None for a corrupt one, which is removed."""
        try:
            entry = await self._codec.decode(slot, value)
        except CorruptEntry as error:
            self._corrupt.labels(slot.tenant).inc()
            _log.warning("corrupt_entry_removed", tenant=slot.tenant, reason=str(error))
            digest = hashlib.sha1(value, usedforsecurity=False).hexdigest()
            await self._flag(self._scripts.drop, slot.prefix, slot.member, digest)
            return None
        self._uses.note(slot)
        return entry

    async def _touch(self, prefix: str, members: Sequence[str]) -> None:
        await self._flag(self._scripts.touch, prefix, *members)

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
        """See `EntryStore.put`."""
        # Now that something may be evicted it matters what was used.
        await self._uses.write_of(slot.prefix)
        version, evicted, over = await self._run(
            self._scripts.store,
            slot.prefix,
            slot.member,
            token,
            stored,
            ttl_ms,
            max_tenant_bytes,
            self._batch,
            answer.model,
            *answer.tags,
        )
        return Put(_number(version) or None, _number(evicted), bool(over))

    async def renew(self, slot: Slot, lease: Lease) -> bool:
        """See `EntryStore.renew`."""
        return await self._flag(
            self._scripts.renew, slot.prefix, slot.member, lease.token, lease.ttl_ms
        )

    async def release(self, slot: Slot, token: str) -> None:
        """See `EntryStore.release`."""
        await self._flag(self._scripts.release, slot.prefix, slot.member, token)

    async def holds(self, slot: Slot) -> bool:
        """See `EntryStore.holds`."""
        return bool(await self._guarded(lambda: self._redis.exists(slot.entry_key)))

    async def forget(self, slot: Slot) -> bool:
        """See `EntryStore.forget`."""
        return await self._flag(self._scripts.forget, slot.prefix, slot.member)

    async def outdate_flights(self, tenant: str) -> int:
        """See `EntryStore.outdate_flights`."""
        key = f"{tenant_prefix(tenant)}generation"
        return int(await self._guarded(lambda: self._redis.incr(key)))

    async def remove_batch(
        self, tenant: str, selection: Selection, *, before_generation: int, cursor: str
    ) -> Removed:
        """See `EntryStore.remove_batch`."""
        following, count = await self._run(
            self._scripts.remove_batch,
            tenant_prefix(tenant),
            selection.scope.value,
            selection.value,
            before_generation,
            cursor,
            self._batch,
        )
        return Removed(_number(count), _bytes(following).decode())

    async def count(self, tenant: str, selection: Selection) -> int:
        """See `EntryStore.count`."""
        entries, _ = await self._count(tenant, selection)
        return entries

    async def holdings(self, tenant: str) -> Holdings:
        """See `EntryStore.holdings`."""
        return Holdings(*await self._count(tenant, _EVERYTHING))

    async def _count(self, tenant: str, selection: Selection) -> tuple[int, int]:
        arguments = (selection.scope.value, selection.value, self._batch)
        while True:
            more, entries, stored_bytes = await self._run(
                self._scripts.count, tenant_prefix(tenant), *arguments
            )
            if not more:
                return _number(entries), _number(stored_bytes)

    async def maintain(self, tenant: str, max_tenant_bytes: int | None) -> Maintained:
        """See `EntryStore.maintain`."""
        bound = "" if max_tenant_bytes is None else max_tenant_bytes
        evicted, more = await self._run(
            self._scripts.maintain, tenant_prefix(tenant), bound, self._batch
        )
        return Maintained(_number(evicted), bool(more))

    async def _run(
        self, script: AsyncScript, prefix: str, *arguments: Argument
    ) -> list[bytes | int]:
        reply = await self._guarded(lambda: script(keys=[prefix], args=arguments))
        assert isinstance(reply, list), "the script answers with a list"
        return reply

    async def _flag(self, script: AsyncScript, prefix: str, *arguments: Argument) -> bool:
        return bool(await self._guarded(lambda: script(keys=[prefix], args=arguments)))

    async def _guarded(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._dependency.call(
            operation, timeout_ms=self._timeout_ms, failures=FAILURES
        )


def _number(value: bytes | int) -> int:
    return int(value)


def _bytes(value: bytes | str | int) -> bytes:
    assert isinstance(value, bytes), "a string reply"
    return value
