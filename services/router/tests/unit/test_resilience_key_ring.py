"""Keys are used by weight, and left alone as long as they must be and no longer."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_router.domain.resilience.key_ring import KeyRing, RestRules, Why

RULES = RestRules(first_s=1.0, refused_s=60.0, longest_s=300.0)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def ring(clock, *weights, random=0.5):
    return KeyRing(weights or (1, 1), RULES, clock, lambda: random)


def choices(keys, count, model="m"):
    return Counter(keys.choose(model) for _ in range(count))


@given(st.lists(st.integers(min_value=1, max_value=20), min_size=1, max_size=6))
def test_each_key_takes_its_share_to_the_call(weights):
    keys = ring(Clock(), *weights)
    assert choices(keys, 3 * sum(weights)) == {k: 3 * w for k, w in enumerate(weights)}


def test_turns_are_spread_and_not_in_blocks(clock):
    keys = ring(clock, 3, 1)
    assert [keys.choose("m") for _ in range(4)] == [0, 0, 1, 0]


def test_a_key_that_rests_is_not_used_and_the_others_take_its_share(clock):
    keys = ring(clock, 2, 1, 1)
    keys.rest(0, "m", Why.RATE_LIMITED, 10)
    assert choices(keys, 10) == {1: 5, 2: 5}
    clock.now += 10.1
    assert set(choices(keys, 8)) == {0, 1, 2}


def test_a_limit_of_one_model_says_nothing_of_another(clock):
    keys = ring(clock, 1)
    keys.rest(0, "dear", Why.RATE_LIMITED, 10)
    assert keys.choose("dear") is None and not keys.is_free("dear")
    assert keys.choose("cheap") == 0 and keys.is_free("cheap")


def test_a_key_that_is_refused_is_refused_for_every_model(clock):
    keys = ring(clock)
    keys.rest(0, "dear", Why.REFUSED)
    assert choices(keys, 4, "cheap") == {1: 4}
    assert keys.is_refused(0) and not keys.is_refused(1)


def test_a_refused_key_rests_longer_than_a_limited_one(clock):
    keys = ring(clock)
    assert keys.rest(0, "m", Why.REFUSED) > 10 * keys.rest(1, "m", Why.RATE_LIMITED)


def test_all_resting_means_none_is_chosen_and_the_earliest_end_is_known(clock):
    keys = ring(clock)
    keys.rest(0, "m", Why.RATE_LIMITED, 30)
    keys.rest(1, "m", Why.RATE_LIMITED, 12)
    assert keys.choose("m") is None
    assert min(keys.rest_s(key, "m") for key in (0, 1)) == pytest.approx(12)


def test_without_a_word_each_further_refusal_doubles_the_rest_up_to_the_bound(clock):
    keys = ring(clock, 1)
    rests = []
    for _ in range(12):
        rests.append(keys.rest(0, "m", Why.RATE_LIMITED))
        clock.now += rests[-1] + 0.01
    assert rests[:4] == pytest.approx([1, 2, 4, 8])
    assert max(rests) == rests[-1] == RULES.longest_s


def test_what_a_provider_asks_for_is_bounded_and_zero_is_no_answer(clock):
    keys = ring(clock)
    assert keys.rest(0, "m", Why.RATE_LIMITED, 86_400) == RULES.longest_s
    assert keys.rest(1, "m", Why.RATE_LIMITED, 0) == 1


def test_refusals_of_calls_that_were_under_way_do_not_add_up(clock):
    keys = ring(clock, 1)
    first = keys.rest(0, "m", Why.RATE_LIMITED)
    assert [keys.rest(0, "m", Why.RATE_LIMITED) for _ in range(20)] == [first] * 20
    clock.now += first + 0.01
    assert keys.rest(0, "m", Why.RATE_LIMITED) == pytest.approx(2 * first)


def test_of_two_stated_ends_the_later_counts(clock):
    keys = ring(clock, 1)
    keys.rest(0, "m", Why.RATE_LIMITED, 20)
    assert keys.rest(0, "m", Why.RATE_LIMITED, 5) == pytest.approx(20)
    assert keys.rest(0, "m", Why.RATE_LIMITED, 30) == pytest.approx(30)


def test_a_late_success_does_not_end_a_rest_and_one_after_it_resets_the_count(clock):
    keys = ring(clock, 1)
    keys.rest(0, "m", Why.RATE_LIMITED)
    keys.answered(0, "m")
    assert keys.choose("m") is None
    clock.now += 1.1
    keys.answered(0, "m")
    assert not keys.rested
    assert keys.rest(0, "m", Why.RATE_LIMITED) == 1


def test_another_secret_in_its_place_ends_the_rest_of_a_key(clock):
    keys = ring(clock)
    keys.rest(0, "m", Why.REFUSED)
    keys.rest(1, "m", Why.RATE_LIMITED)
    keys.forget(0)
    assert keys.choose("m") == 0 and keys.rested == {1}


@given(st.floats(min_value=0, max_value=0.999))
def test_keys_of_many_processes_do_not_wake_at_once_and_none_too_late(random):
    keys = ring(Clock(), 1, random=random)
    assert 0.75 <= keys.rest(0, "m", Why.RATE_LIMITED) <= 1.25
    assert keys.rest(0, "other", Why.REFUSED) <= RULES.longest_s


def test_a_key_that_was_tried_is_not_chosen_again(clock):
    keys = ring(clock)
    assert keys.choose("m", without=[0]) == 1
    assert keys.choose("m", without=[0, 1]) is None
    assert ring(clock, 1).choose("m", without=[0]) is None
