"""Why an answer is the one it is, and what it cost and saved."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum

from infermesh_common.prices import PriceBook
from infermesh_common.usage import Usage
from infermesh_router.domain.routing import ConsideredModel
from infermesh_router.domain.semantic import SemanticMatch, SemanticVerdict


class Tier(Enum):
    """Where an answer came from; values are the wire's short names."""

    NONE = "none"
    EXACT = "exact"
    SEMANTIC = "semantic"


class CacheStatus(Enum):
    """What the caches did; values are the wire's short names."""

    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"
    REFRESH = "refresh"
    INELIGIBLE = "ineligible"
    UNAVAILABLE = "unavailable"
    SHARED = "shared"

    @property
    def served(self) -> bool:
        """Whether the answer came from a cache."""
        return self in (CacheStatus.HIT, CacheStatus.SHARED)


class Outcome(Enum):
    """How an inference ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Decision:
    """Grows while a request is served; see `infermesh.common.v1.Decision` for its fields.

    `decision_id` is ours, unlike `request_id`, which the client may choose and reuse.
    `usage` is what was billed: zero on a hit, None while or when it is not known.
    `answer_usage` is what the answer is worth: on a hit, that of the entry.
    """

    request_id: str
    decision_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    tier: Tier = Tier.NONE
    cache_status: CacheStatus = CacheStatus.INELIGIBLE
    model: str = ""
    provider: str = ""
    reason: str = ""
    candidates: tuple[ConsideredModel, ...] = ()
    price_version: str = ""
    cost: Decimal | None = None
    baseline_cost: Decimal | None = None
    baseline_model: str = ""
    usage: Usage | None = None
    answer_usage: Usage | None = None
    stages: list[tuple[str, int]] = field(default_factory=list)
    configuration_revision: str = ""
    entry_age_s: float | None = None
    fingerprint: str = ""
    store_outcome: str = ""
    fallbacks: list[str] = field(default_factory=list)
    provider_called: bool = False
    semantic: SemanticMatch | None = None

    @property
    def explores(self) -> bool:
        """Whether a model was called only to learn whether a proposed answer was right."""
        return self.semantic is not None and self.semantic.verdict is SemanticVerdict.EXPLORED

    @property
    def saved(self) -> Decimal | None:
        """Baseline less cost; None when either is unknown."""
        if self.cost is None or self.baseline_cost is None:
            return None
        return self.baseline_cost - self.cost

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a block as a stage, in microseconds."""
        started = time.perf_counter_ns()
        try:
            yield
        finally:
            self.stages.append((name, (time.perf_counter_ns() - started) // 1000))

    def settle_failure(self) -> None:
        """Fills the cost of a request that got no answer in: nothing when no provider was called;
        otherwise what it was billed is not known."""
        if not self.provider_called:
            self.usage, self.cost = Usage(), Decimal(0)

    def price(self, prices: PriceBook, baseline_model: str | None) -> None:
        """Fills the amounts in, from what was used.

        Args:
            prices: the price book in force.
            baseline_model: what would have been called without the mesh; None: the model that
                answered.
        """
        self.baseline_model = baseline_model or self.model
        price = prices.price(self.model)
        baseline = prices.price(self.baseline_model)
        versions = {p.version for p in (price, baseline) if p is not None}
        self.price_version = ",".join(sorted(versions))
        if self.cache_status.served:
            # No provider was called: that is known to cost nothing.
            self.usage, self.cost = Usage(), Decimal(0)
        elif price is not None and self.usage is not None:
            self.cost = price.cost(self.usage)
        if baseline is not None and self.answer_usage is not None:
            self.baseline_cost = baseline.cost(self.answer_usage)
