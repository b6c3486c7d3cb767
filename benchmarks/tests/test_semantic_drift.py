"""The change in a stream is what is said, and its aftermath is read off rightly."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.semantic_cache_drift.change import aftermath, changing


@pytest.fixture
def vectors() -> np.ndarray:
    """Twenty questions in four corners."""
    corners = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
    noise = np.random.default_rng(0).normal(0, 0.01, (20, 4)).astype(np.float32)
    made = corners + noise
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def test_half_of_the_labels_have_other_answers_from_the_middle_on(vectors: np.ndarray) -> None:
    labels = [position % 4 for position in range(20)]
    stream = changing(vectors, labels, range(20), seed=1)
    assert stream.changed_at == 10
    assert stream.answers[:10] == [str(labels[position]) for position in stream.order[:10]]
    late = dict(zip(stream.order[10:], stream.answers[10:], strict=True))
    renamed = {labels[position] for position, answer in late.items() if answer.endswith(" now")}
    assert len(renamed) == 2
    assert all(answer.endswith(" now") == (labels[p] in renamed) for p, answer in late.items())
    assert sorted(stream.order) == list(range(20))
    assert stream.burst == 0, "each question's nearest one has its label"


def test_questions_that_look_like_those_of_another_label_come_first(vectors: np.ndarray) -> None:
    labels = [position % 4 for position in range(20)]
    labels[15], labels[18] = 7, 8
    stream = changing(vectors, labels, range(20), seed=1)
    assert stream.burst == 2 and stream.order[10:12] == [15, 18]
    assert changing(vectors, labels, range(20), seed=1, burst=1).order[10:12] == [15, 10]
    assert changing(vectors, labels, range(20), seed=1, burst=0).order == list(range(20))


def test_the_bound_holds_again_when_wrong_answers_are_few_enough_for_good() -> None:
    # 10 % permitted; 3 wrong answers right after 20 requests with one.
    found = aftermath([5, 21, 22, 23], changed_at=20, requests=60, delta=0.1)
    assert found.requests_until_bound_holds == 20
    assert found.since_change == 30
    assert (found.served_wrong, found.error_meanwhile) == (3, 0.1)


def test_no_wrong_answer_needs_no_time_and_too_many_have_not_enough() -> None:
    none = aftermath([5], changed_at=20, requests=60, delta=0.1)
    assert (none.requests_until_bound_holds, none.since_change) == (0, 0)
    assert (none.served_wrong, none.error_meanwhile) == (0, 0.0)
    many = aftermath(list(range(21, 31)), changed_at=20, requests=60, delta=0.1)
    assert many.since_change is None
    assert many.served_wrong == 10 and many.error_meanwhile == 0.25
