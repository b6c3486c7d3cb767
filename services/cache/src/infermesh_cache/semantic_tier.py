"""Puts the semantic tier together; part of the composition root."""

import uuid
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from infermesh_cache.adapters.outbound.redis_learning import RedisLearning
from infermesh_cache.application.cache import Cache
from infermesh_cache.application.explaining import Explaining
from infermesh_cache.application.lazy_parts import LazyParts, Parts
from infermesh_cache.application.learning import Learning
from infermesh_cache.application.proposing import Proposer
from infermesh_cache.application.semantic_cache import SemanticCache
from infermesh_cache.application.tuner_book import TunerBook
from infermesh_cache.ports import Policies
from infermesh_cache.settings import SemanticSettings
from infermesh_common.background import BackgroundTasks
from infermesh_common.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class SemanticTier:
    """The tier, and what has to be ended with it.

    Attributes:
        cache: tier 2 around tier 1.
        explaining: what it would do.
        learning: takes outcomes.
        tuners: decide.
        parts: embedding and index.
        background: what outlives requests.
        executor: of what takes the processor.
    """

    cache: SemanticCache
    explaining: Explaining
    learning: Learning
    tuners: TunerBook
    parts: LazyParts
    background: BackgroundTasks
    executor: ThreadPoolExecutor

    def run(self) -> Coroutine[None, None, None]:
        """Keeps replicas in step until cancelled."""
        return self.tuners.run()

    def load_if_wanted(self, policies: Policies) -> None:
        """Loads what is heavy as soon as a policy wants it, before the first request does."""
        if any(rules is not None and rules.semantic for rules in policies.tenants().values()):
            self.parts.get()

    async def close(self, grace_ms: int) -> None:
        """Learns what is under way, tells the others, and ends."""
        await self.background.drain(grace_ms / 1000)
        await self.tuners.share_all()
        await self.parts.close()
        self.executor.shutdown(wait=False, cancel_futures=True)


def semantic_tier(
    settings: SemanticSettings,
    exact: Cache,
    policies: Policies,
    learning_store: RedisLearning,
    build_parts: Callable[[], Awaitable[Parts]],
    metrics: Metrics,
) -> SemanticTier:
    """The tier; its heavy parts are built when a tenant first needs them.

    Args:
        settings: of the tier.
        exact: tier 1.
        policies: of the tenants.
        learning_store: lessons and tuners of all replicas.
        build_parts: makes embedding and index.
        metrics: of the process.
    """
    background = BackgroundTasks()
    executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="semantic")
    parts = LazyParts(build_parts, background, retry_ms=settings.load_retry_ms)
    proposer = Proposer(executor)
    tuners = TunerBook(
        learning_store,
        executor,
        background,
        metrics,
        origin=uuid.uuid4().hex[:12],
        interval_ms=settings.share_interval_ms,
    )
    learning = Learning(
        exact=exact,
        policies=policies,
        parts=parts,
        tuners=tuners,
        lessons=learning_store,
        background=background,
        metrics=metrics,
        most_under_way=settings.most_lessons_under_way,
    )
    cache = SemanticCache(
        exact=exact,
        policies=policies,
        parts=parts,
        proposer=proposer,
        tuners=tuners,
        lessons=learning_store,
        learning=learning,
        metrics=metrics,
        timeout_ms=settings.lookup_timeout_ms,
        most_unshared=settings.most_unshared,
    )
    explaining = Explaining(
        policies=policies, parts=parts, proposer=proposer, tuners=tuners, executor=executor
    )
    return SemanticTier(cache, explaining, learning, tuners, parts, background, executor)
