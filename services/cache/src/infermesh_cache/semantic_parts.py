"""Builds the heavy parts: embedding models, the index of the semantic tier and its store.

What they are made of is imported here and only when a tenant needs them: ONNX Runtime, usearch and
pymilvus take tens of megabytes that a mesh without the tier does not pay for.
"""

import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import TypeVar

from infermesh_cache.application.contextual_retriever import ContextualRetriever
from infermesh_cache.application.lazy_parts import Parts
from infermesh_cache.application.reading import EmbeddingQuestionReader
from infermesh_cache.application.retrieval import RetrievalParts
from infermesh_cache.domain.semantic_policy import SemanticRules
from infermesh_cache.ports import Policies
from infermesh_cache.semantic_ports import EmbeddingEngine
from infermesh_cache.settings import RetrievalSettings, SemanticSettings, VectorSettings
from infermesh_common.errors import FailedPrecondition, InfermeshError, Unavailable
from infermesh_common.settings import BreakerSettings, SettingsError
from infermesh_common.telemetry.metrics import Metrics

T = TypeVar("T")
_READERS = 1
_LONGEST_LOAD_S = 120.0


def parts_builder(
    settings: SemanticSettings,
    vectors: VectorSettings,
    breaker: BreakerSettings,
    policies: Policies,
    metrics: Metrics,
) -> Callable[[], Awaitable[Parts]]:
    """What makes the parts when it is called.

    Args:
        settings: of the tier.
        vectors: of stored questions.
        breaker: of what is remote.
        policies: say how many questions a tenant may have stored.
        metrics: of the process.
    """

    return _named(lambda: _parts(settings, vectors, breaker, policies, metrics))


async def _parts(
    settings: SemanticSettings,
    vectors: VectorSettings,
    breaker: BreakerSettings,
    policies: Policies,
    metrics: Metrics,
) -> Parts:
    # Their adapters, which are not on the path of anything else.
    from infermesh_cache.adapters.outbound.embedding.factory import create_embedding_engine
    from infermesh_cache.adapters.outbound.judge import create_judge
    from infermesh_cache.adapters.outbound.vectors.opening import open_vector_database

    def quota(tenant: str) -> int:
        rules = _semantic_rules(policies, tenant)
        return rules.max_entries if rules is not None else 0

    def category_quota(tenant: str, category: str) -> int | None:
        rules = _semantic_rules(policies, tenant)
        return rules.max_entries_of(category) if rules is not None else None

    async with AsyncExitStack() as stack:
        engine = await create_embedding_engine(settings.embedding, breaker, metrics)
        stack.push_async_callback(engine.close)
        await _load(engine)
        database = await stack.enter_async_context(
            open_vector_database(
                vectors,
                breaker,
                engine.space,
                metrics,
                quota=quota,
                category_quota=category_quota,
            )
        )
        judge = None
        if settings.judge is not None:
            judge = await create_judge(settings.judge, breaker, metrics)
            stack.push_async_callback(judge.close)
        executor = ThreadPoolExecutor(_READERS, thread_name_prefix="semantic-read")
        stack.callback(executor.shutdown, wait=False, cancel_futures=True)
        reader = EmbeddingQuestionReader(engine, executor)
        # From here on they are ended by who uses them.
        close = stack.pop_all().aclose
    return Parts(reader, engine, database, judge, run=database.run, close=close)


def _semantic_rules(policies: Policies, tenant: str) -> SemanticRules | None:
    """None: the tenant is no more, or leaves the tier off. Asked for each row, so it is quick."""
    try:
        return policies.rules_of(tenant).semantic
    except FailedPrecondition:
        return None


def retrieval_builder(
    settings: RetrievalSettings, breaker: BreakerSettings, metrics: Metrics
) -> Callable[[], Awaitable[RetrievalParts]]:
    """What makes the parts of contextual retrieval when it is called.

    Args:
        settings: of it.
        breaker: of what is remote.
        metrics: of the process.
    """

    return _named(lambda: _retrieval_parts(settings, breaker, metrics))


async def _retrieval_parts(
    settings: RetrievalSettings, breaker: BreakerSettings, metrics: Metrics
) -> RetrievalParts:
    from infermesh_cache.adapters.outbound.embedding.factory import create_embedding_engine
    from infermesh_cache.adapters.outbound.retrieval.bm25 import Bm25Indexer
    from infermesh_cache.adapters.outbound.retrieval.reranker import create_reranker
    from infermesh_cache.adapters.outbound.retrieval.summariser import create_summariser

    async with AsyncExitStack() as stack:
        engine = await create_embedding_engine(settings.embedding, breaker, metrics)
        stack.push_async_callback(engine.close)
        await _load(engine)
        reranker, summariser = None, None
        if settings.reranker is not None:
            reranker = await create_reranker(settings.reranker, breaker, metrics)
            stack.push_async_callback(reranker.close)
        if settings.summariser is not None:
            summariser = await create_summariser(settings.summariser, breaker, metrics)
            stack.push_async_callback(summariser.close)
        executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="retrieval")
        stack.callback(executor.shutdown, wait=False, cancel_futures=True)
        retriever = ContextualRetriever(
            engine, Bm25Indexer(), executor, summariser=summariser, reranker=reranker
        )
        return RetrievalParts(retriever, engine, stack.pop_all().aclose)


def _named(make: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """`make`, whose failures have names."""

    async def build() -> T:
        try:
            return await make()
        except ImportError as error:
            raise Unavailable(
                "SEMANTIC_LIBRARY_MISSING", f"The library {error.name} is not installed."
            ) from error
        except SettingsError as error:
            raise Unavailable("SEMANTIC_SETTINGS_INVALID", str(error)) from error

    return build


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
