"""What a tenant's policy lets the semantic tier do."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum


class AnswerScope(Enum):
    """Whom an answer serves besides who asked for it."""

    KEY = "key"
    TEAM = "team"
    TENANT = "tenant"


GENERAL = "general"
"""Category of every task that has none of its own."""


@dataclass(frozen=True, slots=True)
class CategoryRules:
    """What holds for requests of one category, which has evidence and a bound of its own.

    Attributes:
        name: of the category.
        delta: largest share of its requests that may be answered wrongly because of the tier.
        penalty_usd: what a wrong answer costs.
        ttl_ms: an answer is proposed no longer, in milliseconds.
        max_entries: questions stored of it; None: no bound of its own.
    """

    name: str
    delta: float
    penalty_usd: Decimal
    ttl_ms: int
    max_entries: int | None = None


@dataclass(frozen=True, slots=True)
class SemanticRules:
    """The policy of one tenant.

    Attributes:
        confidence: with which the bound holds at every time.
        audit_rate: share of what would be served that a model answers too.
        scope: whom an answer serves: the API key that asked for it, keys of its team, or every key
            of the tenant.
        comparison: name of the comparison of answers.
        overlooked: upper limit of the share of wrong answers that it takes for right.
        max_entries: questions that a tenant may have stored; above it, the least recently used go.
        bind_history: earlier turns must be equal whatever the last one says.
        agreement: cosine from which two answers agree, where their embeddings are compared.
        general: rules of tasks that are not in `categories`.
        categories: rules by task.
    """

    confidence: float
    audit_rate: float
    scope: AnswerScope
    comparison: str
    overlooked: float
    max_entries: int
    bind_history: bool
    agreement: float
    general: CategoryRules
    categories: Mapping[str, CategoryRules]

    def category_of(self, task: str) -> CategoryRules:
        """The rules for a task. Only tasks that the policy names have a category: what a client
        calls its tasks does not decide how many there are."""
        return self.categories.get(task, self.general)

    def max_entries_of(self, category: str) -> int | None:
        """The bound of a category by its name; None: it has none of its own, or is no more."""
        return self.categories[category].max_entries if category in self.categories else None

    def scope_of(self, key_id: str, team: str) -> str:
        """Whom an answer to that key may serve, and by whose answers the key may be served: as
        `VectorRecord.scope`. A key without a team shares with nobody where teams are kept apart."""
        if self.scope is AnswerScope.TENANT:
            return "tenant"
        return f"team:{team}" if self.scope is AnswerScope.TEAM and team else f"user:{key_id}"
