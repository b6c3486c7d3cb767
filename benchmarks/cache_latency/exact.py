"""Tier 1: reads of entries in a real Redis that holds so many."""

import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from infermesh_cache.adapters.outbound.codec import STAMP, EntryCodec
from infermesh_cache.adapters.outbound.redis_entries import RedisEntryStore
from infermesh_cache.domain.entry import Answer
from infermesh_cache.domain.keys import Slot
from infermesh_cache.domain.outcomes import Hit
from infermesh_common.redis import create_redis
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import RedisServer

_LOOKUPS = 500
_BATCH = 1000
_TTL_MS = 3_600_000
_BREAKER = BreakerSettings(failure_threshold=5, open_ms=2000, max_concurrent=64)


def _slot(number: int) -> Slot:
    return Slot("acme", 0, hashlib.sha256(b"%d" % number).digest())


def _entries(codec: EntryCodec, first: int, last: int) -> Iterator[tuple[str, bytes]]:
    answer = Answer(b'{"choices":[]}' * 20, "small", "main", None, ())
    for number in range(first, last):
        slot = _slot(number)
        yield slot.entry_key, STAMP.pack(1, 1) + codec.encode_now(slot, answer, _TTL_MS)


async def measure(sizes: Sequence[int]) -> dict[int, list[float]]:
    """Milliseconds of lookups at each size (ascending)."""
    found: dict[int, list[float]] = {}
    metrics = Metrics()
    codec = EntryCodec(compress_above_bytes=1024, offload_above_bytes=65_536, threads=1)
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        redis = create_redis(server.settings(operation_timeout_ms=10_000))
        store = RedisEntryStore(
            redis,
            await Dependency.create("redis", _BREAKER, metrics),
            codec,
            metrics,
            timeout_ms=10_000,
            uses_interval_ms=1000,
            batch=200,
        )
        stored = 0
        with server.client() as loader:
            # Loaded as fast as it goes; what is measured are reads.
            loader.config_set("appendonly", "no")
            for size in sizes:
                entries = _entries(codec, stored, size)
                while batch := dict(islice(entries, _BATCH)):
                    loader.mset(batch)
                stored = size
                found[size] = [await _look_up(store, stored, n) for n in range(_LOOKUPS)]
        await redis.aclose()
    codec.close()
    return found


async def _look_up(store: RedisEntryStore, stored: int, number: int) -> float:
    slot = _slot(number * (stored // _LOOKUPS))
    start = time.perf_counter()
    outcome = await store.find(slot)
    spent_ms = (time.perf_counter() - start) * 1000
    assert isinstance(outcome, Hit), outcome
    return spent_ms
