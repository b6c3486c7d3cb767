"""The same without a mesh, on many splits: how much of a result is the luck of one split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.savings.arrivals import (
    IDEAL_HIT_RATE,
    TEAMS,
    Arrival,
    ZipfLaw,
    ideal_hit_rate,
    traffic,
)
from benchmarks.savings.choice import RouterChoice
from benchmarks.savings.dataset import Dataset, Row
from benchmarks.savings.fit import Fit, fit
from benchmarks.savings.grading import Score, best_single, score
from benchmarks.savings.split import split


@dataclass(frozen=True, slots=True)
class Plan:
    """One split, what was fitted on its one part, and what will be asked of its other.

    Attributes:
        seed: of the split and of the traffic.
        fitted: from the prompts for fitting.
        prompts: for fitting and for the replay, how many.
        arrivals: drawn from the prompts for the replay.
    """

    seed: int
    fitted: Fit
    prompts: tuple[int, int]
    arrivals: Sequence[Arrival]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What could be done with the same arrivals, by the records.

    Attributes:
        hit_rate: at best.
        reference: the one model that everybody would call.
        routed: the router's choice with the fitted floors.
        single_name, single: the best single model, in hindsight.
        fitted_single_name, fitted_single: the single model that the fit would trust.
    """

    hit_rate: float
    reference: Score
    routed: Score
    single_name: str
    single: Score
    fitted_single_name: str
    fitted_single: Score


def plan(dataset: Dataset, reference: str, seed: int, teams: int = TEAMS) -> Plan:
    """Splits, fits and draws the traffic. The fit is given no prompt of the replay.

    Raises:
        CannotFit: see `fit`.
    """
    parts = split(dataset.rows, seed)
    law = ZipfLaw(len(parts.replay))
    count = law.count_for(IDEAL_HIT_RATE)
    fitted = fit(dataset, parts.fit, reference, teams, law.effective_prompts(count, teams))
    arrivals = traffic(parts.replay, law, count, seed, teams)
    return Plan(seed, fitted, (len(parts.fit), len(parts.replay)), arrivals)


def compare(dataset: Dataset, planned: Plan) -> Comparison:
    """Scores everything on the arrivals of `planned`."""
    operator, arrivals = planned.fitted.operator, planned.arrivals
    single = best_single(dataset, arrivals, operator.reference)

    def always(model: str) -> Callable[[Row], str]:
        return lambda _: model

    return Comparison(
        hit_rate=ideal_hit_rate(arrivals),
        reference=score(dataset, arrivals, always(operator.reference)),
        routed=score(dataset, arrivals, RouterChoice(dataset, operator).model_for),
        single_name=single,
        single=score(dataset, arrivals, always(single)),
        fitted_single_name=planned.fitted.single,
        fitted_single=score(dataset, arrivals, always(planned.fitted.single)),
    )
