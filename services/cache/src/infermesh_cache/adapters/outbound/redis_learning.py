"""Lessons and the state of tuners in Redis."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from redis.asyncio import Redis

from infermesh_cache.adapters.outbound.lesson_codec import (
    decode_example,
    decode_lesson,
    decode_served,
    encode_example,
    encode_lesson,
    encode_served,
)
from infermesh_cache.adapters.outbound.scripts import read_script
from infermesh_cache.domain.keys import tenant_prefix
from infermesh_cache.domain.semantic.examples import CAPACITY
from infermesh_cache.learning_ports import Example, Lesson, Served, SharedState
from infermesh_common.redis import FAILURES
from infermesh_common.resilience import Dependency

T = TypeVar("T")
_HOUR_S = 3600
_BATCH = 2048


class RedisLearning:
    """Implements `Lessons` and `TunerStates`.

    Args:
        redis: the client.
        dependency: its breaker and bulkhead.
        timeout_ms: longest time of one round trip, in milliseconds.
        lesson_ttl_s: a model's answer is waited for so long, in seconds.
        served_ttl_s: feedback is taken so long, in seconds.
        complaints_per_hour: feedback that one key may give.
    """

    def __init__(
        self,
        redis: Redis,
        dependency: Dependency,
        *,
        timeout_ms: int,
        lesson_ttl_s: int,
        served_ttl_s: int,
        complaints_per_hour: int,
    ) -> None:
        self._redis = redis
        self._dependency = dependency
        self._timeout_ms = timeout_ms
        self._lesson_ttl_s = lesson_ttl_s
        self._served_ttl_s = served_ttl_s
        self._complaints_per_hour = complaints_per_hour
        self._swap = redis.register_script(read_script("swap"))

    async def keep_lesson(self, tenant: str, token: str, lesson: Lesson) -> None:
        """See `Lessons.keep_lesson`."""
        key, data = _key(tenant, "lesson", token), encode_lesson(lesson)
        await self._guarded(lambda: self._redis.set(key, data, ex=self._lesson_ttl_s))

    async def take_lesson(self, tenant: str, token: str) -> Lesson | None:
        """See `Lessons.take_lesson`."""
        data = await self._take(_key(tenant, "lesson", token))
        return None if data is None else decode_lesson(data)

    async def keep_served(self, tenant: str, decision_id: str, served: Served) -> None:
        """See `Lessons.keep_served`."""
        key, data = _key(tenant, "served", decision_id), encode_served(served)
        await self._guarded(lambda: self._redis.set(key, data, ex=self._served_ttl_s))

    async def take_served(self, tenant: str, decision_id: str) -> Served | None:
        """See `Lessons.take_served`."""
        data = await self._take(_key(tenant, "served", decision_id))
        return None if data is None else decode_served(data)

    async def may_complain(self, tenant: str, key_id: str) -> bool:
        """See `Lessons.may_complain`."""
        key = _key(tenant, "feedback", f"{key_id}:{int(time.time()) // _HOUR_S}")

        async def count() -> int:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, _HOUR_S)
                return int((await pipeline.execute())[0])

        return await self._guarded(count) <= self._complaints_per_hour

    async def load(self, tenant: str, category: str) -> SharedState | None:
        """See `TunerStates.load`."""
        key = _key(tenant, "tuner", category)
        version, document = await self._guarded(
            lambda: self._redis.hmget(key, ["version", "document"])
        )
        if version is None or document is None:
            return None
        return SharedState(int(version), _bytes(document))

    async def swap(self, tenant: str, category: str, version: int, document: bytes) -> bool:
        """See `TunerStates.swap`."""
        arguments: tuple[str | int | bytes, ...] = (f"tuner:{category}", version, document)
        prefix = tenant_prefix(tenant)
        return bool(await self._guarded(lambda: self._swap(keys=[prefix], args=arguments)))

    async def load_metric(self, tenant: str, category: str) -> bytes | None:
        """See `TunerStates.load_metric`."""
        key = _key(tenant, "metric", category)
        document = await self._guarded(lambda: self._redis.get(key))
        return None if document is None else _bytes(document)

    async def save_metric(self, tenant: str, category: str, document: bytes) -> None:
        """See `TunerStates.save_metric`."""
        key = _key(tenant, "metric", category)
        await self._guarded(lambda: self._redis.set(key, document))

    async def add_examples(self, tenant: str, category: str, examples: Sequence[Example]) -> None:
        """See `TunerStates.add_examples`."""
        key = _key(tenant, "examples", category)

        async def add() -> None:
            async with self._redis.pipeline(transaction=True) as pipeline:
                for example in examples:
                    pipeline.xadd(key, encode_example(example), maxlen=CAPACITY, approximate=True)
                await pipeline.execute()

        await self._guarded(add)

    async def examples_after(
        self, tenant: str, category: str, cursor: str
    ) -> tuple[str, Sequence[Example]]:
        """See `TunerStates.examples_after`."""
        key = _key(tenant, "examples", category)
        heard: list[Example] = []
        while True:
            found = await self._batch(key, cursor)
            for name, fields in found:
                cursor = _bytes(name).decode()
                if (example := decode_example(fields)) is not None:
                    heard.append(example)
            if len(found) < _BATCH:
                return cursor or "0-0", heard

    async def _batch(self, key: str, after: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        start = f"({after}" if after else "-"
        found = await self._guarded(lambda: self._redis.xrange(key, min=start, count=_BATCH))
        return cast("list[tuple[bytes, dict[bytes, bytes]]]", found or [])

    async def _take(self, key: str) -> bytes | None:
        value = await self._guarded(lambda: self._redis.getdel(key))
        return None if value is None else _bytes(value)

    async def _guarded(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._dependency.call(
            operation, timeout_ms=self._timeout_ms, failures=FAILURES
        )


def _key(tenant: str, kind: str, name: str) -> str:
    return f"{tenant_prefix(tenant)}{kind}:{name}"


def _bytes(value: bytes | str) -> bytes:
    assert isinstance(value, bytes), "a string reply"
    return value
