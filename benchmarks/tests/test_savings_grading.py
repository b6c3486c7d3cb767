"""What is graded is the model that answered; what is paid is what the books say."""

from dataclasses import replace
from decimal import Decimal

import pytest

from benchmarks.savings.arrivals import Arrival, ideal_hit_rate
from benchmarks.savings.books import Account, Counted, account, worth
from benchmarks.savings.dataset import Dataset, Outcome, Price, Row
from benchmarks.savings.figures import Outcome as RunOutcome, accuracy, gates, main_figures, spreads
from benchmarks.savings.grading import Score, best_single, saving, score
from benchmarks.savings.offline import Comparison, Plan, plan
from benchmarks.savings.provider import tokens_of
from benchmarks.savings.replay import Answer, ReplayError, check
from infermesh import TokenUsage, UsageRow

_GOOD, _CHEAP, _HIDDEN = "Good", "Cheap@host", "o1-mini"
_PRICES = {
    _GOOD: Price(Decimal("2.5"), Decimal(10)),
    _CHEAP: Price(Decimal("0.15"), Decimal("0.6")),
    _HIDDEN: Price(Decimal("0.01"), Decimal("0.01")),
}


def _row(number: int, cheap_is_right: bool) -> Row:
    outcomes = {
        _GOOD: Outcome(True, 100),
        _CHEAP: Outcome(cheap_is_right, 200),
        _HIDDEN: Outcome(True, 1),
    }
    return Row("sums", f"{number:03}", f"{number}?", 50, outcomes)


_ROWS = tuple(_row(n, cheap_is_right=n % 10 != 0) for n in range(100))
_DATASET = Dataset("made-up", _ROWS, _PRICES)
_GOOD_USD = Decimal("0.001125")
_CHEAP_USD = Decimal("0.0001275")


def _asked(*numbers: int, team: int = 0) -> list[Arrival]:
    return [Arrival(team, _ROWS[number]) for number in numbers]


def test_a_repeated_prompt_is_paid_once_a_team_and_graded_each_time() -> None:
    arrivals = [*_asked(0, 0, 1), *_asked(0, team=1)]
    found = score(_DATASET, arrivals, lambda _: _CHEAP)
    assert found.accuracy == 0.25
    assert found.quality_score == 2.0
    assert found.uncached_usd == 4 * _CHEAP_USD
    assert found.cached_usd == 3 * _CHEAP_USD


def test_each_prompt_is_graded_by_the_model_chosen_for_it() -> None:
    chosen = {_ROWS[0].prompt: _GOOD, _ROWS[1].prompt: _CHEAP}
    found = score(_DATASET, _asked(0, 1), lambda row: chosen[row.prompt])
    assert found == Score(1.0, _GOOD_USD + _CHEAP_USD, _GOOD_USD + _CHEAP_USD)


def test_saving_is_the_share_not_spent() -> None:
    assert saving(Decimal("0.25"), Decimal(1)) == 0.75
    assert saving(Decimal(2), Decimal(1)) == -1.0


@pytest.mark.parametrize(("wrong", "best"), [(1, _CHEAP), (2, _GOOD)])
def test_the_best_single_model_is_the_cheapest_that_is_accurate_enough(
    wrong: int, best: str
) -> None:
    arrivals = _asked(*range(0, 10 * wrong, 10), *(n for n in range(30) if n % 10))[:20]
    assert len(arrivals) == 20
    assert best_single(_DATASET, arrivals, _GOOD) == best


def _row_of_ledger(
    tenant: str, model: str, requests: int, hits: int, usage: TokenUsage, cost: str
) -> UsageRow:
    amount = Decimal(cost)
    return UsageRow(
        tenant=tenant,
        model=model,
        tag="",
        day="",
        requests=requests,
        cache_hits=hits,
        hit_rate=hits / requests,
        failures=0,
        currency="USD",
        cost=amount,
        baseline_cost=2 * amount,
        saved=amount,
        unpriced_requests=0,
        usage=usage,
    )


def test_an_account_adds_up_the_rows_of_its_tenants_only() -> None:
    used = TokenUsage(input_tokens=50, output_tokens=200)
    rows = [
        _row_of_ledger("team-1", "cheap-host", 3, 2, used, "0.1"),
        _row_of_ledger("team-2", "cheap-host", 1, 0, used, "0.2"),
        _row_of_ledger("always-reference", "good", 1, 0, used, "7"),
    ]
    found = account(rows, _DATASET, ["team-1", "team-2"])
    assert (found.requests, found.cache_hits, found.unpriced) == (4, 2, 0)
    assert (found.cost, found.baseline) == (Decimal("0.3"), Decimal("0.6"))
    assert found.tokens == {_CHEAP: Counted(100, 400)}


def test_tokens_are_worth_their_price_to_the_last_digit() -> None:
    counted = {_CHEAP: Counted(1_000_001, 7), _GOOD: Counted(0, 3)}
    assert worth(_DATASET, counted) == Decimal("0.15000015") + Decimal("0.0000042") + Decimal(
        "0.00003"
    )


def test_an_answer_to_another_prompt_is_found_out() -> None:
    arrival = Arrival(0, _ROWS[0])
    check(arrival, Answer(_CHEAP, "hit", 50, 200))
    for tokens in ((50, 100), (51, 200)):
        with pytest.raises(ReplayError, match="recorded"):
            check(arrival, Answer(_CHEAP, "hit", *tokens))


def _planned(arrivals: list[Arrival]) -> Plan:
    return replace(plan(_DATASET, _GOOD, seed=0, teams=1), arrivals=arrivals)


def _answers(arrivals: list[Arrival], model: str, hits: int = 0) -> list[Answer]:
    last = len(arrivals) - hits
    return [
        Answer(
            model,
            "hit" if number >= last else "miss",
            50,
            arrival.row.outcomes[model].output_tokens,
        )
        for number, arrival in enumerate(arrivals)
    ]


def _comparison(arrivals: list[Arrival]) -> Comparison:
    good = score(_DATASET, arrivals, lambda _: _GOOD)
    cheap = score(_DATASET, arrivals, lambda _: _CHEAP)
    return Comparison(ideal_hit_rate(arrivals), good, cheap, _CHEAP, cheap, _GOOD, good)


def test_accuracy_is_of_the_models_that_answered() -> None:
    arrivals = _asked(0, 1)
    planned = _planned(arrivals)
    assert accuracy(planned, _answers(arrivals, _CHEAP)) == 0.5
    assert accuracy(planned, _answers(arrivals, _GOOD)) == 1.0


def _outcome(arrivals: list[Arrival], hits: int) -> RunOutcome:
    ours = Account(len(arrivals), hits, 0, Decimal("0.2"), Decimal("0.8"), {})
    reference = Account(len(arrivals), 0, 0, Decimal(1), Decimal(1), {})
    return RunOutcome(
        answers=_answers(arrivals, _CHEAP, hits),
        reference_answers=_answers(arrivals, _GOOD),
        ours=ours,
        reference=reference,
        ledger_off=0.0,
        tokens_equal=True,
    )


_TRAFFIC = _asked(*range(1, 8), 1, 2, 3)


def _gates(outcome: RunOutcome) -> dict[str, bool]:
    found = main_figures(_planned(_TRAFFIC), outcome, _comparison(_TRAFFIC))
    return {gate.name: gate.met for gate in gates(found, outcome)}


def test_a_run_as_it_should_be_meets_every_gate() -> None:
    outcome = _outcome(_TRAFFIC, hits=3)
    figures = main_figures(_planned(_TRAFFIC), outcome, _comparison(_TRAFFIC))
    assert figures["savings_ratio"] == 0.8
    assert figures["hit_rate"] == pytest.approx(figures["ideal_hit_rate"])
    assert figures["ledger_estimate_savings_ratio"] == 0.75
    assert figures["best_single_relative_accuracy"] == 1.0
    assert all(_gates(outcome).values())


def test_each_gate_fails_by_itself() -> None:
    good = _outcome(_TRAFFIC, hits=3)
    dear = replace(good, ours=replace(good.ours, cost=Decimal("0.43")))
    few_hits = _outcome(_TRAFFIC, hits=2)
    hits_not_told = replace(good, answers=_answers(_TRAFFIC, _CHEAP, hits=2))
    off = replace(good, ledger_off=1e-18)
    other_tokens = replace(good, tokens_equal=False)
    unpriced = replace(good, ours=replace(good.ours, unpriced=1))

    def failed(outcome: RunOutcome) -> set[str]:
        return {name for name, met in _gates(outcome).items() if not met}

    books = {"ledger - provider's count, USD"}
    assert failed(dear) == {"savings_ratio"}
    assert failed(few_hits) == {"hit_rate", "hit_rate - ideal_hit_rate"}
    assert failed(off) == failed(other_tokens) == failed(unpriced) == books
    assert failed(hits_not_told) == books


def test_answers_that_are_too_often_wrong_are_not_good_enough() -> None:
    arrivals = _asked(0, 10, 20, *range(1, 8))
    outcome = _outcome(arrivals, hits=3)
    found = main_figures(_planned(arrivals), outcome, _comparison(arrivals))
    assert (found["quality_score"], found["relative_accuracy"]) == pytest.approx((3.8, 0.7))
    met = {gate.name: gate.met for gate in gates(found, outcome)}
    assert not met["quality_score"] and not met["relative_accuracy"]


def test_the_spread_is_of_all_splits() -> None:
    each = [_comparison(_asked(*numbers)) for numbers in ((1, 2), (0, 1), (0, 1, 2, 3))]
    found = spreads(each)
    accuracies = found["relative_accuracy"]
    assert (accuracies.lowest, accuracies.median, accuracies.highest) == (0.5, 0.75, 1.0)
    assert str(found["trusted_single_savings_ratio"]) == "0.0000 (0.0000 to 0.0000)"


def test_tokens_of_no_stated_price_are_not_overlooked() -> None:
    buckets = {"input": 3, "cached_input": 0, "cache_write_input": 0, "output": 4, "reasoning": 0}
    assert tokens_of(buckets) == Counted(3, 4)
    with pytest.raises(ValueError, match="other tokens"):
        tokens_of({**buckets, "reasoning": 1})
