"""What the nearest entries propose, and the signs of its being right."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infermesh_cache.domain.semantic.metric import AnswerMetric, Floats
from infermesh_cache.domain.semantic.mismatch import MismatchCostCalculator
from infermesh_cache.domain.semantic.packing import BadState, pack, unpack
from infermesh_cache.domain.semantic.similarity import (
    FEATURES,
    Neighbours,
    Proposal,
    SimilarityCalculator,
)
from infermesh_cache.domain.semantic.wording import LONGEST_CHARACTERS, Wording, mismatches

DIMENSION = 16


def unit(vector: Floats) -> Floats:
    scaled: Floats = (vector / np.linalg.norm(vector)).astype(np.float32)
    return scaled


def cluster(seed: int, answers: int, each: int) -> tuple[Floats, list[str]]:
    """Questions that scatter about their answers."""
    drawn = np.random.default_rng(seed)
    centres = drawn.normal(size=(answers, DIMENSION))
    vectors = [
        unit(centre + 0.3 * drawn.normal(size=DIMENSION)) for centre in centres for _ in range(each)
    ]
    return np.array(vectors), [str(number) for number in range(answers) for _ in range(each)]


def neighbours(question: Floats, vectors: Floats, answers: list[str], text: str) -> Neighbours:
    order = np.argsort(-(vectors @ question))
    return Neighbours(
        vectors=vectors[order],
        similarities=(vectors @ question)[order],
        answers=[answers[position] for position in order],
        wordings=[Wording.of(text)] * len(order),
        ages_s=[60.0] * len(order),
        stored=len(order),
    )


def propose(question: Floats, near: Neighbours, text: str = "how do I pay") -> Proposal:
    metric = AnswerMetric.fit(near.vectors, near.answers) or AnswerMetric.plain(DIMENSION)
    return SimilarityCalculator().propose(question, Wording.of(text), near, metric)


def test_the_answer_of_the_own_cluster_is_proposed() -> None:
    vectors, answers = cluster(1, 8, 12)
    right = 0
    for position in range(0, len(vectors), 5):
        rest = np.delete(vectors, position, axis=0)
        others = answers[:position] + answers[position + 1 :]
        found = propose(vectors[position], neighbours(vectors[position], rest, others, "pay"))
        right += found.answer == answers[position]
        assert set(found.explained()) == set(FEATURES)
        assert np.isfinite(found.features).all()
    assert right >= 0.9 * len(range(0, len(vectors), 5))


def test_a_question_between_two_answers_leads_by_less() -> None:
    vectors, answers = cluster(2, 2, 10)
    clear = propose(vectors[0], neighbours(vectors[0], vectors[1:], answers[1:], "pay"))
    between = unit(vectors[0] + vectors[-1])
    torn = propose(between, neighbours(between, vectors, answers, "pay"))
    assert torn.explained()["similarity_lead"] < clear.explained()["similarity_lead"]
    assert torn.explained()["ridge_lead"] < clear.explained()["ridge_lead"]


def test_a_single_entry_is_enough() -> None:
    vectors, answers = cluster(3, 1, 1)
    found = propose(vectors[0], neighbours(vectors[0], vectors, answers, "pay"))
    assert found.answer == "0" and found.position == 0
    assert np.isfinite(found.features).all()


@given(st.text(max_size=200), st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_texts_give_finite_features(asked: str, stored: str) -> None:
    vectors, answers = cluster(4, 3, 4)
    found = propose(vectors[0], neighbours(vectors[0], vectors, answers, stored), asked)
    assert np.isfinite(found.features).all()


@pytest.mark.parametrize(
    ("left", "right", "which"),
    [
        ("transfer 100 euros", "transfer 200 euros", 0),
        ("two cards please", "three cards please", 0),
        ("is it possible", "is it not possible", 1),
        ("it works", "it doesn't work", 1),
        ("a flight to Paris", "a flight to London", 2),
        ("costs 5 kg", "costs 5 lb", 3),
        ("pay 5€", "pay $5", 3),
    ],
)
def test_what_a_vector_does_not_tell_apart_is_told(left: str, right: str, which: int) -> None:
    assert mismatches(Wording.of(left), Wording.of(right))[which] == 1.0
    assert mismatches(Wording.of(left), Wording.of(left)) == (0.0, 0.0, 0.0, 0.0)


def test_only_the_beginning_of_a_prompt_is_read() -> None:
    text = "word " * LONGEST_CHARACTERS
    assert Wording.of(text).length <= LONGEST_CHARACTERS / 5 + 1
    assert Wording.of("").length == 0 and Wording.of("日本語").length == 3


def test_a_metric_needs_answers_that_several_entries_share() -> None:
    vectors, _ = cluster(5, 40, 1)
    assert AnswerMetric.fit(vectors, [str(number) for number in range(40)]) is None
    vectors, answers = cluster(5, 8, 12)
    metric = AnswerMetric.fit(vectors, answers)
    assert metric is not None
    again = AnswerMetric.restore(metric.state())
    assert np.array_equal(again.project(vectors), metric.project(vectors))


def test_arrays_survive_and_what_is_none_is_refused() -> None:
    array = np.array([[1.5, 2.5]], np.float32)
    assert np.array_equal(unpack(pack(array), np.float32), array)
    packed = pack(array)
    for wrong in (
        None,
        {**packed, "kind": "int64"},
        {**packed, "shape": [7]},
        {**packed, "data": "!"},
        pack(np.array([np.nan], np.float32)),
    ):
        with pytest.raises(BadState):
            unpack(wrong, np.float32)


def test_an_answer_is_served_when_it_saves_more_than_it_risks() -> None:
    costs = MismatchCostCalculator(Decimal("0.10"), {"medical": Decimal(50)})
    assert costs.worth_serving(0.01, Decimal("0.002"), "general")
    assert not costs.worth_serving(0.01, Decimal("0.002"), "medical")
    assert not costs.worth_serving(0.05, Decimal("0.002"), "general")
    assert costs.worth_serving(0.0, Decimal("0.002"), "medical")
