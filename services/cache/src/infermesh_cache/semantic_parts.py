"""Builds the heavy parts of the semantic tier: the embedding model, the index and its store.

What they are made of is imported here and only when a tenant needs them: ONNX Runtime, usearch and
pymilvus take tens of megabytes that a mesh without the tier does not pay for.
"""

import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from infermesh_cache.application.lazy_parts import Parts
from infermesh_cache.application.reading import EmbeddingQuestionReader
from infermesh_cache.ports import Policies
from infermesh_cache.semantic_ports import EmbeddingEngine, EmbeddingSpace
from infermesh_cache.settings import MilvusSettings, SemanticSettings
from infermesh_common.errors import InfermeshError, Unavailable
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings, SettingsError, read_secret
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from infermesh_cache.vector_ports import VectorStore

_READERS = 1
_LONGEST_LOAD_S = 120.0


def parts_builder(
    settings: SemanticSettings,
    breaker: BreakerSettings,
    policies: Policies,
    metrics: Metrics,
) -> Callable[[], Awaitable[Parts]]:
    """What makes the parts when it is called.

    Args:
        settings: of the tier.
        breaker: of what is remote.
        policies: say how many questions a tenant may have stored.
        metrics: of the process.
    """

    async def build() -> Parts:
        try:
            return await _parts(settings, breaker, policies, metrics)
        except ImportError as error:
            raise Unavailable(
                "SEMANTIC_LIBRARY_MISSING", f"The library {error.name} is not installed."
            ) from error
        except SettingsError as error:
            raise Unavailable("SEMANTIC_SETTINGS_INVALID", str(error)) from error

    return build


async def _parts(
    settings: SemanticSettings, breaker: BreakerSettings, policies: Policies, metrics: Metrics
) -> Parts:
    from infermesh_cache.adapters.outbound.embedding.factory import create_embedding_engine
    from infermesh_cache.adapters.outbound.vectors.hot_index import HotIndex
    from infermesh_cache.application.vector_database import Pace, TieredVectorDatabase

    engine = await create_embedding_engine(settings.embedding, breaker, metrics)
    try:
        await _load(engine)
    except InfermeshError:
        await engine.close()
        raise
    vectors = settings.vectors

    def quota(tenant: str) -> int:
        rules = policies.tenants().get(tenant)
        return rules.semantic.max_entries if rules is not None and rules.semantic else 0

    hot = HotIndex(
        engine.space,
        metrics,
        quota=quota,
        max_records=vectors.max_records,
        max_text_bytes=vectors.max_text_bytes,
        exact_below=vectors.exact_below,
        max_queued=vectors.max_queued,
        build_threads=vectors.build_threads,
    )
    store = None
    if vectors.milvus is not None:
        store = await _milvus(vectors.milvus, engine.space, breaker, metrics, vectors.keep_ms)
    pace = Pace(
        timeout_ms=vectors.timeout_ms,
        poll_ms=vectors.poll_ms,
        overlap_ms=vectors.overlap_ms,
        keep_ms=vectors.keep_ms,
        sweep_ms=vectors.sweep_ms,
        queue=vectors.queue,
        batch=vectors.batch,
        flush_ms=vectors.flush_ms,
        longest_pause_ms=vectors.longest_pause_ms,
    )
    database = TieredVectorDatabase(
        hot, store, metrics, clock=lambda: int(time.time() * 1e6), pace=pace
    )
    executor = ThreadPoolExecutor(_READERS, thread_name_prefix="semantic-read")

    async def close() -> None:
        await database.close()
        if store is not None:
            await store.close()
        await hot.close()
        await engine.close()
        executor.shutdown(wait=False, cancel_futures=True)

    reader = EmbeddingQuestionReader(engine, executor)
    return Parts(reader, engine, database, run=database.run, close=close)


async def _load(engine: EmbeddingEngine) -> None:
    """Loads the model: a missing file is known now, and the first request does not wait. That takes
    longer than an embedding may."""
    deadline_s = time.monotonic() + _LONGEST_LOAD_S
    while True:
        try:
            await engine.embed(["ready"])
            return
        except InfermeshError as error:
            if error.reason != "EMBEDDING_TIMEOUT" or time.monotonic() > deadline_s:
                raise


async def _milvus(
    settings: MilvusSettings,
    space: EmbeddingSpace,
    breaker: BreakerSettings,
    metrics: Metrics,
    keep_ms: int,
) -> "VectorStore":
    from infermesh_cache.adapters.outbound.vectors.milvus import MilvusVectors

    return MilvusVectors(
        space,
        await Dependency.create("milvus", breaker, metrics),
        uri=settings.uri,
        token="" if settings.token_file is None else read_secret(settings.token_file),
        timeout_ms=settings.timeout_ms,
        write_timeout_ms=settings.write_timeout_ms,
        page_rows=settings.page_rows,
        keep_ms=keep_ms,
    )
