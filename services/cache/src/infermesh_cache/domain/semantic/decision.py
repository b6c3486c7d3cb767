"""What is decided about one request, and why."""

from dataclasses import dataclass
from enum import StrEnum

from infermesh_cache.domain.semantic.similarity import Proposal


class Verdict(StrEnum):
    """What to do with a proposal."""

    SERVE = "serve"
    EXPLORE = "explore"
    """It would have been served, but chance wants to know whether that would have been right."""
    CALL = "call"


class Reason(StrEnum):
    """Why."""

    WITHIN_BOUND = "WITHIN_BOUND"
    CHOSEN_BY_CHANCE = "CHOSEN_BY_CHANCE"
    YOUNG = "YOUNG"
    """Too few proposals have been compared with the model's answers."""
    TOO_LIKELY_WRONG = "TOO_LIKELY_WRONG"
    """Other answers use the permitted errors better."""
    NOT_WORTH_IT = "NOT_WORTH_IT"
    """A wrong answer would cost more than a right one saves."""
    BOUND_AT_RISK = "BOUND_AT_RISK"
    """The evidence does not support another answer served."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One decision; what `AdaptiveThresholdTuner.learn` takes back with the outcome.

    Attributes:
        proposal: the answer proposed.
        verdict: what to do.
        reason: why.
        forecast: of the error model that it is wrong; None while there is no model.
        probability_wrong: the forecast corrected by what earlier ones turned out to be; None
            likewise.
        price: forecast up to which is served.
        explored_with: probability with which this proposal is looked into instead of served; 1 when
            it is not served anyway.
        regime: of the evidence at the time.
    """

    proposal: Proposal
    verdict: Verdict
    reason: Reason
    forecast: float | None
    probability_wrong: float | None
    price: float
    explored_with: float
    regime: int
