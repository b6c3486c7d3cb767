"""From measured outcomes to quality floors: the cheapest ones that promise to be good enough."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from benchmarks.savings.choice import RouterChoice
from benchmarks.savings.dataset import Dataset, Row
from benchmarks.savings.evidence import (
    RELATIVE_ACCURACY,
    Promise,
    Sample,
    TaskEvidence,
    promise,
)
from benchmarks.savings.resources import Operator, Qualities

_MOST_COMBINATIONS = 500_000


@dataclass(frozen=True, slots=True)
class Fit:
    """What the operator puts into resources, and why.

    Attributes:
        operator: qualities and floors.
        evidence: of the models that these floors choose, by task.
        promise: of them together.
        single: the cheapest one model for every task that promises to be good enough; the
            reference itself when no cheaper one does.
    """

    operator: Operator
    evidence: Mapping[str, TaskEvidence]
    promise: Promise
    single: str


class CannotFit(Exception):
    """The data does not allow a fit; says why."""


def fit(
    dataset: Dataset, rows: Sequence[Row], reference: str, teams: int, effective_prompts: float
) -> Fit:
    """Measures every model on `rows` and sets a floor for each task.

    The rule: of all combinations of one floor a task, each floor the measured quality of a model,
    take the cheapest whose promise is kept (`evidence.Promise`); when none is, the one that comes
    nearest.

    Raises:
        CannotFit: the reference or a task is not in the data, or there are too many tasks.
    """
    if reference not in dataset.priceable:
        raise CannotFit(f"{reference!r} is not among the models whose cost is known.")
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    qualities = measure(dataset, by_task)
    router = RouterChoice(dataset, Operator(qualities, reference, teams))
    options = {
        task: _options(dataset, task, asked, qualities, router, reference)
        for task, asked in sorted(by_task.items())
    }
    floors, evidence, best = _cheapest(options, effective_prompts)
    return Fit(
        operator=Operator(qualities, reference, teams, floors),
        evidence=evidence,
        promise=best,
        single=_single(dataset, by_task, reference, effective_prompts),
    )


def measure(dataset: Dataset, by_task: Mapping[str, Sequence[Row]]) -> Qualities:
    """Share of right answers of each model in each task."""
    return {
        task: {
            model: sum(row.outcomes[model].correct for row in rows) / len(rows)
            for model in dataset.models
        }
        for task, rows in by_task.items()
    }


def evidence_of(
    dataset: Dataset, rows: Sequence[Row], chosen: Callable[[Row], str], reference: str
) -> TaskEvidence:
    """What the models that `chosen` names did on `rows`, all of one task."""
    models = [chosen(row) for row in rows]
    correct = [float(row.outcomes[m].correct) for row, m in zip(rows, models, strict=True)]
    wanted = [RELATIVE_ACCURACY * row.outcomes[reference].correct for row in rows]
    costs = [float(dataset.cost(row, m)) for row, m in zip(rows, models, strict=True)]
    return TaskEvidence(
        models=Counter(models),
        correct=Sample.of(correct),
        margin=Sample.of([got - want for got, want in zip(correct, wanted, strict=True)]),
        cost_usd=sum(costs) / len(costs),
    )


def _options(
    dataset: Dataset,
    task: str,
    rows: Sequence[Row],
    qualities: Qualities,
    router: RouterChoice,
    reference: str,
) -> dict[float, TaskEvidence]:
    """Evidence by floor. Models whose cost is unknown set no floor: the highest one would leave
    nothing else to choose."""
    floors = sorted({qualities[task][model] for model in dataset.priceable})
    found: dict[float, TaskEvidence] = {}
    for floor in floors:
        evidence = evidence_of(
            dataset, rows, lambda r: router.model_for(r, {task: floor}), reference
        )
        if all(evidence.models != earlier.models for earlier in found.values()):
            found[floor] = evidence
    return found


def _cheapest(
    options: Mapping[str, Mapping[float, TaskEvidence]], effective_prompts: float
) -> tuple[dict[str, float], dict[str, TaskEvidence], Promise]:
    count = 1
    for of_task in options.values():
        count *= len(of_task)
    if count > _MOST_COMBINATIONS:
        raise CannotFit(f"{len(options)} tasks allow {count} combinations of floors: too many.")
    best: tuple[tuple[bool, float, float], dict[str, float], Promise] | None = None
    for floors in product(*options.values()):
        chosen = dict(zip(options, floors, strict=True))
        promised = promise([options[task][f] for task, f in chosen.items()], effective_prompts)
        # Kept first; then the cheapest of those, else the one that comes nearest.
        order = promised.cost_usd if promised.kept else -min(promised.margin, promised.correct)
        rank = (not promised.kept, order, promised.cost_usd)
        if best is None or rank < best[0]:
            best = (rank, chosen, promised)
    if best is None:
        raise CannotFit("There are no prompts to fit on.")
    _, floors_of, promised = best
    return floors_of, {task: options[task][f] for task, f in floors_of.items()}, promised


def _single(
    dataset: Dataset, by_task: Mapping[str, Sequence[Row]], reference: str, effective_prompts: float
) -> str:
    """The cheapest model that keeps the same promise alone."""
    best = (float("inf"), reference)
    for model in dataset.priceable:
        parts = [
            evidence_of(dataset, rows, lambda _: model, reference) for rows in by_task.values()
        ]
        promised = promise(parts, effective_prompts)
        if promised.kept:
            best = min(best, (promised.cost_usd, model))
    return best[1]
