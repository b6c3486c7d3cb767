"""Lessons survive being stored; what is of another form is nothing."""

from __future__ import annotations

import base64

import numpy as np
import orjson
import pytest

from infermesh_cache.adapters.outbound.lesson_codec import (
    decode_example,
    decode_lesson,
    decode_served,
    encode_example,
    encode_lesson,
    encode_served,
)
from infermesh_cache.domain.semantic.decision import Decision, Reason, Verdict
from infermesh_cache.domain.semantic.similarity import Proposal
from infermesh_cache.learning_ports import Example, Lesson, Question, Served
from infermesh_cache.semantic_ports import EmbeddingSpace


def decision(forecast: float | None) -> Decision:
    proposal = Proposal("a", 3, 0.875, np.array([0.1, -2.5, 1e-9]))
    return Decision(
        proposal, Verdict.EXPLORE, Reason.CHOSEN_BY_CHANCE, forecast, forecast, 0.02, 0.1, 4
    )


def lesson(made: Decision | None) -> Lesson:
    vector = np.array([0.6, 0.8], np.float32)
    question = Question("ab" * 32, "wer? 👍", vector, EmbeddingSpace("m@1", 2), ("leaning",))
    return Lesson("general", question, "user:k", made, "cd" * 32 if made else "")


@pytest.mark.parametrize("forecast", [None, 0.0123])
def test_a_lesson_comes_back_as_it_was(forecast: float | None) -> None:
    before = lesson(decision(forecast))
    after = decode_lesson(encode_lesson(before))
    assert after is not None and after.decision is not None and before.decision is not None
    assert (after.category, after.scope, after.proposed) == ("general", "user:k", "cd" * 32)
    assert after.question.text == before.question.text
    assert after.question.space == before.question.space
    assert np.array_equal(after.question.vector, before.question.vector)
    for name in ("verdict", "reason", "forecast", "probability_wrong", "price", "regime"):
        assert getattr(after.decision, name) == getattr(before.decision, name)
    assert np.array_equal(after.decision.proposal.features, before.decision.proposal.features)


def test_a_lesson_without_a_proposal_comes_back() -> None:
    after = decode_lesson(encode_lesson(lesson(None)))
    assert after is not None and after.decision is None


def test_what_was_served_comes_back() -> None:
    after = decode_served(encode_served(Served("quiz", decision(0.5), "ef" * 32)))
    assert after is not None and (after.category, after.entry_id) == ("quiz", "ef" * 32)
    assert after.decision.verdict is Verdict.EXPLORE


def test_an_example_comes_back() -> None:
    fields = encode_example(Example(2, (0.5, -1.0), True, "me"))
    read = {str(name).encode(): _raw(value) for name, value in fields.items()}
    example = decode_example(read)
    assert example == Example(2, (0.5, -1.0), True, "me")


def _raw(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"space": [1]}', b"\xff"])
def test_what_is_of_another_form_is_nothing(data: bytes) -> None:
    assert decode_lesson(data) is None and decode_served(data) is None
    assert decode_example({b"f": data}) is None


def test_numbers_that_are_none_are_nothing() -> None:
    told = orjson.loads(encode_lesson(lesson(None)))
    nan = np.array([np.nan, 0], "<f4").tobytes()
    told["vector"]["data"] = base64.b64encode(nan).decode()
    assert decode_lesson(orjson.dumps(told)) is None
    assert decode_example({b"f": nan, b"r": b"0", b"w": b"0", b"o": b"me"}) is None
