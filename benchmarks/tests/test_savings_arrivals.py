"""Splits never overlap; the traffic repeats as the stated law says."""

from itertools import product
from statistics import fmean

import pytest

from benchmarks.savings.arrivals import (
    IDEAL_HIT_RATE,
    Arrival,
    ZipfLaw,
    first_asked,
    ideal_hit_rate,
    traffic,
)
from benchmarks.savings.dataset import Outcome, Row
from benchmarks.savings.split import split


def _row(number: int, task: str = "sums") -> Row:
    return Row(task, f"{number:04}", f"{task} {number}?", 10, {"good": Outcome(True, 5)})


_ROWS = [_row(n) for n in range(60)] + [_row(n, "words") for n in range(20)]


@pytest.mark.parametrize("seed", range(5))
def test_no_prompt_is_both_fitted_and_replayed(seed: int) -> None:
    parts = split(_ROWS, seed)
    fitted = {row.prompt for row in parts.fit}
    replayed = {row.prompt for row in parts.replay}
    assert not fitted & replayed
    assert fitted | replayed == {row.prompt for row in _ROWS}


def test_both_parts_have_the_same_mix_of_tasks() -> None:
    parts = split(_ROWS, 3, fit_share=0.25)
    assert [sum(row.task == task for row in parts.fit) for task in ("sums", "words")] == [15, 5]


def test_a_split_depends_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    assert split(_ROWS, 1) == split(list(reversed(_ROWS)), 1)
    assert split(_ROWS, 1).fit != split(_ROWS, 2).fit


def test_the_expected_hit_rate_is_that_of_every_possible_sequence() -> None:
    law = ZipfLaw(3, 0.7)
    expected = 0.0
    for ranks in product(range(3), repeat=4):
        chance = 1.0
        for rank in ranks:
            chance *= law.probabilities[rank]
        expected += chance * (1 - len(set(ranks)) / 4)
    assert law.hit_rate(4) == pytest.approx(expected)


def test_popularity_falls_with_the_power_of_the_rank() -> None:
    probabilities = ZipfLaw(8, 0.7).probabilities
    assert sum(probabilities) == pytest.approx(1)
    assert probabilities[7] / probabilities[0] == pytest.approx(8**-0.7)


@pytest.mark.parametrize("prompts", [1, 2, 40, 400])
def test_the_count_is_the_fewest_that_repeat_enough(prompts: int) -> None:
    law = ZipfLaw(prompts)
    count = law.count_for(IDEAL_HIT_RATE)
    assert law.hit_rate(count) >= IDEAL_HIT_RATE
    assert law.hit_rate(count - 1) < IDEAL_HIT_RATE


def test_drawn_traffic_repeats_as_the_law_expects() -> None:
    rows = [_row(n) for n in range(400)]
    law = ZipfLaw(len(rows))
    count = law.count_for(IDEAL_HIT_RATE)
    drawn = [ideal_hit_rate(traffic(rows, law, count, seed)) for seed in range(10)]
    assert fmean(drawn) == pytest.approx(IDEAL_HIT_RATE, abs=0.02)


def test_traffic_is_the_same_for_a_seed_and_teams_take_turns() -> None:
    law = ZipfLaw(len(_ROWS))
    drawn = traffic(_ROWS, law, 5, seed=7, teams=3)
    assert drawn == traffic(_ROWS, law, 5, seed=7, teams=3)
    assert drawn != traffic(_ROWS, law, 5, seed=8, teams=3)
    assert [arrival.team for arrival in drawn] == [0, 1, 2] * 5


def test_what_another_team_asked_before_is_no_hit() -> None:
    asked = [Arrival(0, _ROWS[0]), Arrival(1, _ROWS[0]), Arrival(0, _ROWS[0]), Arrival(0, _ROWS[1])]
    assert first_asked(asked) == [True, True, False, True]
    assert ideal_hit_rate(asked) == 0.25


def test_effective_prompts_are_what_drawn_counts_come_to() -> None:
    rows = [_row(n) for n in range(100)]
    law, count, teams = ZipfLaw(100), 60, 4
    squares = []
    for seed in range(60):
        counts: dict[str, int] = {}
        for arrival in traffic(rows, law, count, seed, teams):
            counts[arrival.row.prompt] = counts.get(arrival.row.prompt, 0) + 1
        squares.append(sum(c * c for c in counts.values()))
    expected = (teams * count) ** 2 / fmean(squares)
    assert law.effective_prompts(count, teams) == pytest.approx(expected, rel=0.1)
