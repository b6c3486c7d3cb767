"""An outage is not doubled by those who try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_router.domain.resilience.retry_budget import WINDOW_S, RetryBudget


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def drawn(budget, attempts):
    return sum(budget.draw() for _ in range(attempts))


def test_further_attempts_are_a_share_of_the_requests_and_a_floor(clock):
    budget = RetryBudget(0.2, 1, clock)
    for _ in range(100):
        budget.count_request()
    assert drawn(budget, 1000) == 20 + WINDOW_S


def test_who_has_little_to_do_may_try_again_too(clock):
    assert drawn(RetryBudget(0.2, 1, clock), 1000) == WINDOW_S
    assert drawn(RetryBudget(0.0, 0, clock), 1000) == 0


def test_what_is_spent_comes_back_with_time_and_old_requests_no_longer_count(clock):
    budget = RetryBudget(0.5, 0, clock)
    for _ in range(10):
        budget.count_request()
    assert drawn(budget, 100) == 5
    assert 0 < budget.retry_after_s() <= WINDOW_S
    clock.now += WINDOW_S
    assert drawn(budget, 100) == 0
    for _ in range(4):
        budget.count_request()
    assert drawn(budget, 100) == 2


@given(
    st.lists(st.tuples(st.sampled_from("rd"), st.floats(min_value=0, max_value=3)), max_size=200),
    st.sampled_from([0.0, 0.1, 0.2, 1.0]),
    st.sampled_from([0, 1, 3]),
)
def test_in_no_window_is_there_more_than_the_budget(events, share, per_second):
    clock = Clock()
    budget = RetryBudget(share, per_second, clock)
    requests, extra = [], []
    for kind, wait in events:
        clock.now += wait
        if kind == "r":
            budget.count_request()
            requests.append(int(clock.now))
        elif budget.draw():
            extra.append(int(clock.now))
            since = int(clock.now) - WINDOW_S
            recent = sum(second > since for second in extra)
            allowed = share * sum(second > since for second in requests) + per_second * WINDOW_S
            assert recent <= allowed


def test_a_budget_remembers_no_more_than_its_window(clock):
    budget = RetryBudget(0.2, 1, clock)
    for _ in range(500):
        clock.now += 0.7
        budget.count_request()
        budget.draw()
    assert len(budget._seconds) <= WINDOW_S
