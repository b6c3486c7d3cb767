"""What the semantic tier is asked and what it says."""

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum


class SemanticVerdict(Enum):
    """What the tier did; values are the wire's short names."""

    NONE = "none"
    SERVED = "served"
    EXPLORED = "explored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SemanticMatch:
    """How sure the tier was; see `infermesh.common.v1.SemanticMatch` for its fields."""

    verdict: SemanticVerdict
    reason: str
    similarity: float = 0.0
    probability: float | None = None
    error_bound: float = 0.0
    confidence: float = 0.0
    delta: float = 0.0
    entry: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True)
class SemanticQuestion:
    """A request as the tier reads it; see `infermesh.cache.v1.SemanticQuery` for its fields."""

    protocol: str
    models: tuple[str, ...]
    body: bytes
    task: str
    call_cost: Decimal | None
    decision_id: str


_REASONS = {
    "YOUNG": "the semantic tier has not yet compared enough answers",
    "TOO_LIKELY_WRONG": "the nearest answer was not sure enough to be right",
    "NOT_WORTH_IT": "the nearest answer was not worth the risk",
    "BOUND_AT_RISK": "the evidence did not support another answer served",
    "CHOSEN_BY_CHANCE": "the nearest answer is being checked against a model's",
}


def refusal_of(match: SemanticMatch) -> str:
    """Why a proposed answer was not served, as the end of a sentence; empty without a proposal."""
    if match.verdict not in (SemanticVerdict.EXPLORED, SemanticVerdict.REFUSED):
        return ""
    return _REASONS.get(match.reason, match.reason)


def hit_reason(match: SemanticMatch) -> str:
    """Why an answer to another question was served, in a sentence or two."""
    sure = "" if match.probability is None else f", {match.probability:.2%} sure to be right"
    return (
        f"A question of the same meaning was answered before (similarity {match.similarity:.3f}"
        f"{sure}). At most {match.error_bound:.2%} of all requests were answered wrongly because "
        f"of the cache, at {match.confidence:.0%} confidence; {match.delta:.2%} are permitted."
    )
