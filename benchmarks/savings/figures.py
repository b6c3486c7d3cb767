"""The figures of one run, and which of them were to be reached."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, median

from benchmarks.savings.arrivals import IDEAL_HIT_RATE
from benchmarks.savings.books import Account
from benchmarks.savings.evidence import RELATIVE_ACCURACY
from benchmarks.savings.grading import Score, saving
from benchmarks.savings.offline import Comparison, Plan
from benchmarks.savings.replay import Answer

SAVINGS_RATIO = 0.58
QUALITY_SCORE = 4.0
HIT_RATE_WITHIN = (IDEAL_HIT_RATE - 0.05, IDEAL_HIT_RATE + 0.05)
HIT_RATE_OFF_IDEAL = 0.01


@dataclass(frozen=True, slots=True)
class Gate:
    """Something that was to be reached.

    Attributes:
        name: of the figure.
        value: of it.
        wanted: in words.
        met: whether it was reached.
    """

    name: str
    value: float
    wanted: str
    met: bool

    def __str__(self) -> str:
        return (
            f"{'met    ' if self.met else 'NOT met'}  {self.name} {self.value:.4f}, {self.wanted}"
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of the mesh.

    Attributes:
        answers: one an arrival.
        reference_answers: of the reference to the same arrivals.
        ours: what the ledger holds of the teams.
        reference: what it holds of the tenant that always calls the reference.
        ledger_off: dollars by which the ledger differs from the provider's count at its prices.
        tokens_equal: whether it counts the same tokens of each model.
    """

    answers: Sequence[Answer]
    reference_answers: Sequence[Answer]
    ours: Account
    reference: Account
    ledger_off: float
    tokens_equal: bool


def accuracy(planned: Plan, answers: Sequence[Answer]) -> float:
    """Share of arrivals whose answer, of the model that gave it, is on record as right."""
    pairs = zip(planned.arrivals, answers, strict=True)
    return fmean(arrival.row.outcomes[answer.model].correct for arrival, answer in pairs)


def main_figures(planned: Plan, outcome: Outcome, beside: Comparison) -> dict[str, float]:
    """Ours out of the mesh, its ledger and its answers; what else could be done, by the records."""
    right = accuracy(planned, outcome.answers)
    right_of_reference = accuracy(planned, outcome.reference_answers)
    full = beside.reference.uncached_usd
    return {
        "savings_ratio": saving(outcome.ours.cost, outcome.reference.cost),
        "quality_score": 1 + 4 * right,
        "relative_accuracy": right / right_of_reference,
        "hit_rate": outcome.ours.cache_hits / outcome.ours.requests,
        "ideal_hit_rate": beside.hit_rate,
        "best_single_savings_ratio": saving(beside.single.uncached_usd, full),
        "best_single_with_cache_savings_ratio": saving(beside.single.cached_usd, full),
        "best_single_relative_accuracy": beside.single.accuracy / beside.reference.accuracy,
        "trusted_single_savings_ratio": saving(beside.fitted_single.uncached_usd, full),
        "trusted_single_with_cache_savings_ratio": saving(beside.fitted_single.cached_usd, full),
        "routing_alone_savings_ratio": saving(beside.routed.uncached_usd, full),
        "cache_alone_savings_ratio": saving(beside.reference.cached_usd, full),
        "ledger_estimate_savings_ratio": saving(outcome.ours.cost, outcome.ours.baseline),
        "spend_usd": float(outcome.ours.cost),
        "always_reference_usd": float(outcome.reference.cost),
        "arrivals": len(outcome.answers),
    }


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over several splits."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of `values`; at least one."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.4f} ({self.lowest:.4f} to {self.highest:.4f})"


def spreads(of_splits: Sequence[Comparison]) -> dict[str, Spread]:
    """The figures over splits, by the records; the ideal hit rate is taken as reached."""

    def savings(dollars: Callable[[Comparison], Decimal]) -> Spread:
        return Spread.of([saving(dollars(e), e.reference.uncached_usd) for e in of_splits])

    def accuracies(of: Callable[[Comparison], Score]) -> Spread:
        return Spread.of([of(e).accuracy / e.reference.accuracy for e in of_splits])

    return {
        "savings_ratio": savings(lambda e: e.routed.cached_usd),
        "quality_score": Spread.of([e.routed.quality_score for e in of_splits]),
        "relative_accuracy": accuracies(lambda e: e.routed),
        "best_single_savings_ratio": savings(lambda e: e.single.uncached_usd),
        "best_single_with_cache_savings_ratio": savings(lambda e: e.single.cached_usd),
        "trusted_single_savings_ratio": savings(lambda e: e.fitted_single.uncached_usd),
        "trusted_single_relative_accuracy": accuracies(lambda e: e.fitted_single),
        "routing_alone_savings_ratio": savings(lambda e: e.routed.uncached_usd),
        "cache_alone_savings_ratio": savings(lambda e: e.reference.cached_usd),
    }


def accurate_enough(of_splits: Sequence[Comparison]) -> int:
    """In how many splits the router's choices reached the relative accuracy wanted."""
    return sum(
        each.routed.accuracy >= RELATIVE_ACCURACY * each.reference.accuracy for each in of_splits
    )


def gates(figures: Mapping[str, float], outcome: Outcome) -> list[Gate]:
    """What was to be reached, in the order of importance."""

    hit_rate, low, high = figures["hit_rate"], *HIT_RATE_WITHIN
    off = hit_rate - figures["ideal_hit_rate"]
    seen = sum(answer.from_cache for answer in outcome.answers)
    exact = outcome.ledger_off == 0 and outcome.tokens_equal and seen == outcome.ours.cache_hits
    unpriced = outcome.ours.unpriced + outcome.reference.unpriced
    return [
        _at_least("savings_ratio", figures["savings_ratio"], SAVINGS_RATIO),
        _at_least("quality_score", figures["quality_score"], QUALITY_SCORE),
        _at_least("relative_accuracy", figures["relative_accuracy"], RELATIVE_ACCURACY),
        Gate("hit_rate", hit_rate, f"wanted {low:.2f} to {high:.2f}", low <= hit_rate <= high),
        Gate(
            "hit_rate - ideal_hit_rate",
            off,
            f"wanted within {HIT_RATE_OFF_IDEAL}",
            abs(off) <= HIT_RATE_OFF_IDEAL,
        ),
        Gate(
            "ledger - provider's count, USD",
            outcome.ledger_off,
            f"wanted exactly 0, with equal tokens and hits, none of unknown cost ({unpriced})",
            exact and unpriced == 0,
        ),
    ]


def _at_least(name: str, value: float, least: float) -> Gate:
    return Gate(name, value, f"wanted >= {least}", value >= least)
