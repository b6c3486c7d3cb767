"""The Milvus path: the store alone, on Milvus Lite's server."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.cache_latency.questions import perturbed
from benchmarks.cache_latency.vectors import CONTEXT, LIMIT, SCOPES, TENANT, record
from infermesh_cache.adapters.outbound.vectors.milvus import MilvusVectors
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_cache.vector_ports import Stamped
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.milvus import MilvusLiteServer

_LOOKUPS = 60
_BATCH = 256
_BREAKER = BreakerSettings(failure_threshold=5, open_ms=2000, max_concurrent=64)


@dataclass(frozen=True)
class StoreFigures:
    """What was measured.

    Attributes:
        search_ms: of each search.
        writes_per_s: records a second.
        empty_mb: memory of the server without records.
        full_mb: with all of them.
    """

    search_ms: list[float]
    writes_per_s: float
    empty_mb: float
    full_mb: float


async def measure(space: EmbeddingSpace, base: Floats, queries: Floats, size: int) -> StoreFigures:
    """Writes `size` records, then searches."""
    with tempfile.TemporaryDirectory() as folder, MilvusLiteServer(Path(folder)) as server:
        process = psutil.Process(server.pid)
        store = MilvusVectors(
            space,
            await Dependency.create("milvus", _BREAKER, Metrics()),
            uri=server.uri,
            token="",
            timeout_ms=60_000,
            write_timeout_ms=60_000,
            page_rows=1000,
            keep_ms=86_400_000,
        )
        await store.open()
        empty_mb = process.memory_info().rss / 1e6
        stored, start = 0, time.perf_counter()
        for vectors, _ in perturbed(base, size, 7):
            for first in range(0, len(vectors), _BATCH):
                part = vectors[first : first + _BATCH]
                items = [
                    (TENANT, Stamped(record(stored + i, "a question", vector), stored + i + 1))
                    for i, vector in enumerate(part)
                ]
                await store.put(items)
                stored += len(items)
        writes_per_s = size / (time.perf_counter() - start)
        spent = []
        for query in queries[:_LOOKUPS]:
            start = time.perf_counter()
            found = await store.nearest(TENANT, CONTEXT, SCOPES, query, LIMIT, 2)
            spent.append((time.perf_counter() - start) * 1000)
            assert len(found) == LIMIT, found
        full_mb = process.memory_info().rss / 1e6
        await store.close()
        return StoreFigures(spent, writes_per_s, empty_mb, full_mb)
