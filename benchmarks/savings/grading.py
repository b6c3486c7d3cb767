"""What answers are worth, right or wrong and dollars, and what others would have been worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from benchmarks.savings.arrivals import Arrival, first_asked
from benchmarks.savings.dataset import Dataset, Row
from benchmarks.savings.evidence import RELATIVE_ACCURACY


@dataclass(frozen=True, slots=True)
class Score:
    """One way to answer all arrivals.

    Attributes:
        accuracy: share of arrivals answered right.
        uncached_usd: when each arrival is paid for.
        cached_usd: when only the first of equal ones of a team is.
    """

    accuracy: float
    uncached_usd: Decimal
    cached_usd: Decimal

    @property
    def quality_score(self) -> float:
        """From 1, all wrong, to 5, all right."""
        return 1 + 4 * self.accuracy


def saving(spent: Decimal, reference: Decimal) -> float:
    """Share of `reference` that was not spent."""
    return float(1 - spent / reference)


def score(dataset: Dataset, arrivals: Sequence[Arrival], chosen: Callable[[Row], str]) -> Score:
    """What the models that `chosen` names make of `arrivals`, by the records."""
    right, paid_always, paid_once = 0, Decimal(0), Decimal(0)
    answered_by: dict[str, str] = {}
    for arrival, first in zip(arrivals, first_asked(arrivals), strict=True):
        row = arrival.row
        model = answered_by.setdefault(row.prompt, chosen(row))
        cost = dataset.cost(row, model)
        right += row.outcomes[model].correct
        paid_always += cost
        paid_once += cost if first else 0
    return Score(right / len(arrivals), paid_always, paid_once)


def best_single(dataset: Dataset, arrivals: Sequence[Arrival], reference: str) -> str:
    """The cheapest model of those of known cost that would have answered `arrivals` well enough.

    In hindsight: nobody could have known it before, so it is the hardest to beat.
    """
    scores = {name: score(dataset, arrivals, lambda _: name) for name in dataset.priceable}
    wanted = RELATIVE_ACCURACY * scores[reference].accuracy
    return min(
        (name for name, found in scores.items() if found.accuracy >= wanted),
        key=lambda name: (scores[name].uncached_usd, name),
    )
