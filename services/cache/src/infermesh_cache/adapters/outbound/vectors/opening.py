"""Builds the vector database of one embedding space when a tenant first needs it.

usearch and pymilvus take seconds to import and 100 to 150 MB: they are imported here, off the event
loop, and not at all in a mesh that looks nothing up by similarity.
"""

import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from infermesh_cache.application.vector_database import Pace, TieredVectorDatabase
from infermesh_cache.semantic_ports import EmbeddingSpace
from infermesh_cache.settings import MilvusSettings, VectorSettings
from infermesh_cache.vector_ports import VectorStore
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings, read_secret
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from infermesh_cache.adapters.outbound.vectors.hot_index import HotIndex
    from infermesh_cache.adapters.outbound.vectors.milvus import MilvusVectors

_PACKAGE = "infermesh_cache.adapters.outbound.vectors"


@asynccontextmanager
async def open_vector_database(
    settings: VectorSettings,
    breaker: BreakerSettings,
    space: EmbeddingSpace,
    metrics: Metrics,
    *,
    quota: Callable[[str], int] | None = None,
    category_quota: Callable[[str, str], int | None] = lambda tenant, category: None,
) -> AsyncIterator[TieredVectorDatabase]:
    """The database; its `run` is for the caller to start and to end before leaving.

    Args:
        settings: of vectors.
        breaker: of Milvus.
        space: of all vectors.
        metrics: of the process.
        quota: most records of a tenant in the index; None: what the settings say for all.
        category_quota: see `HotIndex`.

    Raises:
        SettingsError: the token's file cannot be read.
    """
    most = settings.index.max_records_per_tenant
    async with AsyncExitStack() as stack:
        hot = await _hot(settings, space, metrics, quota or (lambda _: most), category_quota)
        stack.push_async_callback(hot.close)
        store: VectorStore | None = None
        if settings.milvus is not None:
            milvus = await _milvus(settings.milvus, settings, breaker, space, metrics)
            stack.push_async_callback(milvus.close)
            store = milvus
        pace = settings.pace.model_dump(exclude={"page_rows"})
        database = TieredVectorDatabase(
            hot, store, metrics, clock=lambda: time.time_ns() // 1000, pace=Pace(**pace)
        )
        stack.push_async_callback(database.close)
        yield database


async def _hot(
    settings: VectorSettings,
    space: EmbeddingSpace,
    metrics: Metrics,
    quota: Callable[[str], int],
    category_quota: Callable[[str, str], int | None],
) -> "HotIndex":
    await asyncio.to_thread(importlib.import_module, f"{_PACKAGE}.hot_index")
    from infermesh_cache.adapters.outbound.vectors.hot_index import HotIndex

    index = settings.index
    return HotIndex(
        space,
        metrics,
        quota=quota,
        category_quota=category_quota,
        max_records=index.max_records,
        max_text_bytes=index.max_text_bytes,
        exact_below=index.exact_below,
        max_queued=index.max_queued,
        build_threads=index.build_threads,
    )


async def _milvus(
    milvus: MilvusSettings,
    settings: VectorSettings,
    breaker: BreakerSettings,
    space: EmbeddingSpace,
    metrics: Metrics,
) -> "MilvusVectors":
    await asyncio.to_thread(importlib.import_module, f"{_PACKAGE}.milvus")
    from infermesh_cache.adapters.outbound.vectors.milvus import MilvusVectors

    return MilvusVectors(
        space,
        await Dependency.create("milvus", breaker, metrics),
        uri=milvus.uri,
        token=read_secret(milvus.token_file) if milvus.token_file else "",
        timeout_ms=milvus.timeout_ms,
        write_timeout_ms=milvus.write_timeout_ms,
        page_rows=settings.pace.page_rows,
        keep_ms=settings.pace.keep_ms,
    )
