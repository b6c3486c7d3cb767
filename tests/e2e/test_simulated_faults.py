"""Every fault of a provider at every point of a request, on every surface: a clear error or another
model's answer, in time; nothing kept of what failed; no price that is wrong; nothing left open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import pytest

from benchmarks.processes import wait_until
from benchmarks.soak.client import TYPED
from infermesh import Outcome
from tests.e2e.simulated.cases import STRIKES, Case, Fate, Strike, cases
from tests.e2e.simulated.matrix import Driver, Matrix
from tests.e2e.simulated.stand import (
    ANSWER,
    BACKED,
    OTHER_ANSWER,
    OTHER_USAGE,
    PLAIN,
    STAND_IN,
    WITHIN_S,
    Stand,
    stand,
    worth,
)
from tools.simulator.faults import Fault

pytestmark = pytest.mark.timeout(300)
CASES = cases()
by_strike = pytest.mark.parametrize("strike", STRIKES, ids=lambda strike: strike.name)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with stand(tmp_path_factory.mktemp("simulated") / "mesh", CASES) as started:
        yield started


@pytest.fixture(scope="module")
def matrix(running: Stand) -> Matrix:
    """All cases are asked at once: what hangs would take minutes one after another."""
    return asyncio.run(Driver(running, CASES).run())


def of(strike: Strike) -> list[Case]:
    return [case for case in CASES if case.strike == strike]


@by_strike
def test_a_fault_is_a_clear_error_in_time_and_never_half_an_answer(
    matrix: Matrix, strike: Strike
) -> None:
    for case in of(strike):
        asked = matrix.first[PLAIN][case]
        got, told = asked.got, (case, asked.reply)
        assert asked.fate in case.fates(backed=False), told
        assert got.took_s < WITHIN_S, told
        if asked.fate is Fate.ANSWERED:
            check_answer(case, got.said.text)
            assert got.model == case.model, told
            continue
        failure = got.said.failure
        assert failure is not None and not got.said.ended, told
        assert failure.code != "internal" and "Traceback" not in failure.message, told
        assert ANSWER.startswith(got.said.text) or case.strike.variant == "-limit", told
        if asked.fate is Fate.REFUSED:
            assert got.status == 400 and "No such tool." in failure.message, told
        elif case.after_words and got.said.text:
            assert got.status == 200, told
        else:
            assert got.status == case.status, told
        if got.status == 429 and case.surface != TYPED:
            assert int(got.headers["retry-after"]) >= 1, told


def check_answer(case: Case, text: str) -> None:
    if case.stream and case.strike.fault is Fault.MID_STREAM_OVERSIZED:
        assert text.replace("x", "") == ANSWER, (case, text[:200])
        assert text.count("x") == case.strike.spec["size"]
    else:
        assert text == ANSWER, (case, text[:200])


def test_words_have_gone_out_before_most_of_the_faults_in_the_middle(matrix: Matrix) -> None:
    """Else those tests would be of something else."""
    late = [case for case in CASES if case.after_words and not case.whole_enough]
    begun = [case for case in late if matrix.first[PLAIN][case].got.said.text]
    assert len(begun) > len(late) / 2


@by_strike
def test_another_model_answers_only_if_no_word_of_the_first_has_gone_out(
    matrix: Matrix, strike: Strike
) -> None:
    for case in of(strike):
        asked = matrix.first[BACKED][case]
        got, told = asked.got, (case, asked.reply)
        assert asked.fate in case.fates(backed=True), told
        assert got.took_s < WITHIN_S, told
        if asked.fate is Fate.REPLACED:
            assert (got.said.text, got.model) == (OTHER_ANSWER, STAND_IN), told
        elif asked.fate is Fate.ANSWERED:
            check_answer(case, got.said.text)
            assert got.model == case.model, told
        else:
            assert got.said.failure is not None, told
            assert ANSWER.startswith(got.said.text) or case.strike.variant == "-limit", told


@by_strike
def test_nothing_of_a_failure_is_kept_and_an_answer_is(matrix: Matrix, strike: Strike) -> None:
    for case in of(strike):
        for tenant in (PLAIN, BACKED):
            first, again = matrix.first[tenant][case], matrix.again[tenant][case]
            got, told = again.got, (case, tenant, first.reply, again.reply)
            assert got.good, told
            if first.got.good and (case.kept or first.fate is Fate.REPLACED):
                assert got.cache == "hit", told
                assert (got.said.text, got.model) == (first.got.said.text, first.got.model), told
            else:
                assert got.cache == "miss", told
                assert (got.said.text, got.model) == (ANSWER, case.model), told


@by_strike
def test_each_request_is_in_the_ledger_once_and_never_at_a_wrong_price(
    matrix: Matrix, strike: Strike
) -> None:
    for case in of(strike):
        for tenant in (PLAIN, BACKED):
            asked = matrix.first[tenant][case]
            events = matrix.events_of(asked)
            assert len(events) == 1, (case, tenant, events)
            event, decision = events[0], events[0].decision
            told = (case, tenant, event)
            assert (event.tenant, event.requested_model) == (tenant, case.model), told
            assert event.streamed == case.stream, told
            if asked.fate in (Fate.FAILED, Fate.REFUSED):
                assert event.outcome is Outcome.FAILED and event.error_reason, told
                assert decision.cost in costs_of_failure(case), told
                continue
            assert (event.outcome, event.error_reason) == (Outcome.SUCCEEDED, ""), told
            if asked.fate is Fate.REPLACED:
                assert decision.cost == worth(OTHER_USAGE), told
                assert decision.fallbacks, told
            elif not case.usage_told:
                assert decision.cost is None and decision.usage is None, told
            else:
                assert decision.cost == worth(matrix.told[case.wire]), told
                counted = matrix.counted[tenant].get(case.model)
                assert counted in (None, matrix.told[case.wire]), told


def costs_of_failure(case: Case) -> list[Decimal | None]:
    """Who was never reached has billed nothing; what others have is not known."""
    match case.strike.fault:
        case Fault.CONNECT_REFUSED:
            return [Decimal(0)]
        case Fault.CONNECT_RESET:
            # Whether the connection was there for a moment is nobody's to say.
            return [Decimal(0), None]
        case _:
            return [None]


def test_the_ledger_has_the_spend_of_the_model_that_stood_in_to_the_last_digit(
    matrix: Matrix,
) -> None:
    events = [
        event
        for case in CASES
        for event in matrix.events_of(matrix.first[BACKED][case])
        if event.decision.model == STAND_IN
    ]
    assert len(events) > 200
    spent = sum((event.decision.cost or Decimal(0) for event in events), Decimal(0))
    assert matrix.stood_in is not None
    assert spent == worth(matrix.stood_in)


def test_a_repeated_question_costs_what_is_asked_anew(matrix: Matrix) -> None:
    for tenant in (PLAIN, BACKED):
        for case in CASES:
            again = matrix.again[tenant][case]
            (event,) = matrix.events_of(again)
            hit = again.got.cache == "hit"
            expected = Decimal(0) if hit else worth(matrix.told[case.wire])
            assert event.decision.cost == expected, (case, tenant, event)


def test_no_request_connection_or_descriptor_is_left(running: Stand, matrix: Matrix) -> None:
    wait_until(lambda: running.under_way() == 0, "the end of all requests")
    wait_until(lambda: running.simulators.left_open() == 0, "the end of all connections")
    wait_until(
        lambda: running.descriptors() <= matrix.descriptors,
        f"{matrix.descriptors} open files, not {running.descriptors()}",
    )
