"""The log of changes, a short stream in Redis."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis

from infermesh_cache.ports import Changes
from infermesh_common.redis import FAILURES
from infermesh_common.resilience import Dependency

CHANGES_STREAM = "-:cache:changes"
"""Key of the stream. One for the mesh: the tenant stands in each entry."""
_FIELD = b"tenant"
_BEGINNING = "0-0"
# Whoever is further behind forgets everything. Far more than happens within one lease.
_LONGEST = 10_000
_READ = 1_000

T = TypeVar("T")
Entries = list[tuple[bytes, dict[bytes, bytes]]]


class RedisChangeLog:
    """Implements `ChangeLog`.

    Args:
        redis: the client.
        dependency: its breaker and bulkhead.
        timeout_ms: longest time of one round trip, in milliseconds.
    """

    def __init__(self, redis: Redis, dependency: Dependency, *, timeout_ms: int) -> None:
        self._redis = redis
        self._dependency = dependency
        self._timeout_ms = timeout_ms

    async def note(self, tenant: str) -> None:
        """See `ChangeLog.note`."""
        await self._guarded(
            lambda: self._redis.xadd(
                CHANGES_STREAM, {_FIELD: tenant.encode()}, maxlen=_LONGEST, approximate=True
            )
        )

    async def since(self, cursor: str) -> Changes:
        """See `ChangeLog.since`."""
        newest, entries = await self._guarded(lambda: self._read(cursor or _BEGINNING))
        if not cursor or _order(newest) < _order(cursor) or len(entries) == _READ:
            # The first poll, a stream that was lost, or too much to tell one by one.
            return Changes(newest, None)
        tenants = frozenset(fields[_FIELD].decode() for _, fields in entries)
        return Changes(entries[-1][0].decode() if entries else cursor, tenants)

    async def _read(self, cursor: str) -> tuple[str, Entries]:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xrevrange(CHANGES_STREAM, count=1)
        pipeline.xrange(CHANGES_STREAM, min=f"({cursor}", count=_READ)
        last, entries = await pipeline.execute()
        return last[0][0].decode() if last else _BEGINNING, entries

    async def _guarded(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._dependency.call(
            operation, timeout_ms=self._timeout_ms, failures=FAILURES
        )


def _order(cursor: str) -> tuple[int, ...]:
    """Stream ids in the order they were given."""
    return tuple(map(int, cursor.split("-")))
