"""Floors come from the prompts for fitting, and promise only what those show."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from math import sqrt
from statistics import NormalDist

import pytest

from benchmarks.savings.choice import RouterChoice
from benchmarks.savings.dataset import Dataset, Outcome, Price, Row
from benchmarks.savings.evidence import CONFIDENCE, Sample, lower_bound
from benchmarks.savings.fit import CannotFit, Fit, fit
from benchmarks.savings.offline import compare, plan
from benchmarks.savings.split import split

_PRICES = {
    "Good": Price(Decimal("2.5"), Decimal(10)),
    "Cheap": Price(Decimal("0.1"), Decimal("0.4")),
    "o1-mini": Price(Decimal("0.01"), Decimal("0.01")),
}
_MANY = 100_000.0


def _rows(task: str, count: int, shares: dict[str, float]) -> list[Row]:
    """Of each model the share given is right: the same ones for all, the rest at the end."""
    return [
        Row(
            task,
            f"{number:05}",
            f"{task} {number}?",
            100,
            {m: Outcome(number < round(share * count), 200) for m, share in shares.items()},
        )
        for number in range(count)
    ]


def _dataset(*parts: Iterable[Row]) -> Dataset:
    return Dataset("made-up", tuple(row for part in parts for row in part), _PRICES)


def _mixed(count: int) -> Dataset:
    return _dataset(
        _rows("easy", count, {"Good": 0.96, "Cheap": 0.95, "o1-mini": 1.0}),
        _rows("hard", count, {"Good": 0.90, "Cheap": 0.60, "o1-mini": 1.0}),
    )


def _fitted(dataset: Dataset, effective_prompts: float = _MANY) -> Fit:
    return fit(dataset, dataset.rows, "Good", 2, effective_prompts)


def _answerers(fitted: Fit) -> dict[str, set[str]]:
    return {task: set(evidence.models) for task, evidence in fitted.evidence.items()}


def test_a_task_that_the_cheap_model_does_as_well_goes_to_it() -> None:
    fitted = _fitted(_mixed(1000))
    assert _answerers(fitted) == {"easy": {"Cheap"}, "hard": {"Good"}}
    assert fitted.promise.kept
    assert fitted.single == "Good"


def test_the_router_does_what_was_fitted() -> None:
    dataset = _mixed(500)
    fitted = _fitted(dataset)
    router = RouterChoice(dataset, fitted.operator)
    for row in dataset.rows:
        assert router.model_for(row) in fitted.evidence[row.task].models


def test_a_model_of_unknown_cost_is_never_chosen_for_being_cheap() -> None:
    dataset = _mixed(1000)
    fitted = _fitted(dataset)
    assert fitted.operator.qualities["hard"]["o1-mini"] == 1.0
    router = RouterChoice(dataset, fitted.operator)
    assert "o1-mini" not in {router.model_for(row) for row in dataset.rows}


def test_a_cheap_model_that_is_good_enough_for_everything_is_trusted_alone() -> None:
    shares = {"Good": 0.96, "Cheap": 0.95, "o1-mini": 1.0}
    fitted = _fitted(_dataset(_rows("easy", 1000, shares)))
    assert fitted.single == "Cheap"


@pytest.mark.parametrize(("count", "chosen"), [(40, "Good"), (4000, "Cheap")])
def test_few_prompts_promise_less_than_many(count: int, chosen: str) -> None:
    shares = {"Good": 0.975, "Cheap": 0.95, "o1-mini": 1.0}
    assert _answerers(_fitted(_dataset(_rows("easy", count, shares)))) == {"easy": {chosen}}


def test_traffic_of_few_prompts_needs_a_larger_margin() -> None:
    shares = {"Good": 0.975, "Cheap": 0.95, "o1-mini": 1.0}
    dataset = _dataset(_rows("easy", 4000, shares))
    assert _answerers(_fitted(dataset, effective_prompts=30.0)) == {"easy": {"Good"}}


def test_when_nothing_is_good_enough_it_says_so() -> None:
    fitted = _fitted(_dataset(_rows("hard", 500, {"Good": 0.6, "Cheap": 0.2, "o1-mini": 1.0})))
    assert not fitted.promise.kept
    assert _answerers(fitted) == {"hard": {"Good"}}


def test_outcomes_of_replayed_prompts_do_not_reach_the_fit() -> None:
    dataset = _mixed(200)
    before = plan(dataset, "Good", seed=4)
    replayed = {row.prompt for row in split(dataset.rows, 4).replay}

    def turned(row: Row) -> Row:
        wrong = {m: Outcome(not o.correct, o.output_tokens * 9) for m, o in row.outcomes.items()}
        return replace(row, outcomes=wrong) if row.prompt in replayed else row

    after = plan(replace(dataset, rows=tuple(map(turned, dataset.rows))), "Good", seed=4)
    assert after.fitted == before.fitted


def test_a_plan_replays_only_what_was_not_fitted() -> None:
    dataset = _mixed(200)
    planned = plan(dataset, "Good", seed=1, teams=3)
    fitted = {row.prompt for row in split(dataset.rows, 1).fit}
    assert not fitted & {arrival.row.prompt for arrival in planned.arrivals}


def test_routing_is_compared_with_single_models_on_the_same_arrivals() -> None:
    dataset = _mixed(600)
    found = compare(dataset, plan(dataset, "Good", seed=2))
    assert found.single_name == "Good"
    assert found.single == found.reference == found.fitted_single
    assert found.routed.cached_usd < found.routed.uncached_usd < found.reference.uncached_usd
    assert 0.2 < found.hit_rate < 0.4


def test_a_reference_that_is_not_recorded_is_refused() -> None:
    with pytest.raises(CannotFit, match="Better"):
        fit(_mixed(10), _mixed(10).rows, "Better", 1, _MANY)


def test_more_combinations_than_can_be_tried_are_refused() -> None:
    shares = {"Good": 0.9, "Cheap": 0.5, "o1-mini": 1.0}
    dataset = _dataset(*(_rows(f"task {number}", 2, shares) for number in range(19)))
    with pytest.raises(CannotFit, match="combinations"):
        _fitted(dataset)


def _bernoulli(count: int, share: float) -> Sample:
    return Sample(count, share, share * (1 - share))


def test_the_bound_is_that_of_a_mean_when_the_traffic_is_endless() -> None:
    z = NormalDist().inv_cdf(CONFIDENCE)
    bound = lower_bound([_bernoulli(400, 0.8)], float("inf"))
    assert bound == pytest.approx(0.8 - z * sqrt(0.16 / 400))


def test_the_bound_counts_the_mix_of_tasks_as_chance_of_the_traffic_only() -> None:
    z = NormalDist().inv_cdf(CONFIDENCE)
    certain: Sequence[Sample] = [Sample(50, 1.0, 0.0), Sample(50, 0.0, 0.0)]
    assert lower_bound(certain, float("inf")) == pytest.approx(0.5)
    assert lower_bound(certain, 100.0) == pytest.approx(0.5 - z * sqrt(0.25 / 100))
