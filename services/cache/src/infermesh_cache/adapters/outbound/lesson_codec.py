"""Lessons as bytes. What does not decode is of another version, and nothing is learnt from it."""

import numpy as np
import orjson
from redis.typing import EncodableT, FieldT

from infermesh_cache.domain.semantic.decision import Decision, Reason, Verdict
from infermesh_cache.domain.semantic.packing import BadState, pack, unpack
from infermesh_cache.domain.semantic.similarity import Proposal
from infermesh_cache.learning_ports import Example, JsonObject, Lesson, Question, Served
from infermesh_cache.semantic_ports import EmbeddingSpace

_ODDITIES = (BadState, KeyError, TypeError, ValueError)


def encode_lesson(lesson: Lesson) -> bytes:
    """For `decode_lesson`."""
    question = lesson.question
    return orjson.dumps(
        {
            "category": lesson.category,
            "context": question.context,
            "text": question.text,
            "vector": pack(question.vector),
            "space": [question.space.name, question.space.dimension],
            "scope": lesson.scope,
            "decision": None if lesson.decision is None else _decision(lesson.decision),
            "proposed": lesson.proposed,
        }
    )


def decode_lesson(data: bytes) -> Lesson | None:
    """The lesson; None when it is of another form."""
    try:
        told = orjson.loads(data)
        name, dimension = told["space"]
        question = Question(
            context=told["context"],
            text=told["text"],
            vector=unpack(told["vector"], np.float32),
            space=EmbeddingSpace(str(name), int(dimension)),
        )
        decision = told["decision"]
        return Lesson(
            category=told["category"],
            question=question,
            scope=told["scope"],
            decision=None if decision is None else _decided(decision),
            proposed=told["proposed"],
        )
    except _ODDITIES:
        return None


def encode_served(served: Served) -> bytes:
    """For `decode_served`."""
    return orjson.dumps(
        {
            "category": served.category,
            "decision": _decision(served.decision),
            "entry": served.entry_id,
        }
    )


def decode_served(data: bytes) -> Served | None:
    """What was served; None when it is of another form."""
    try:
        told = orjson.loads(data)
        return Served(told["category"], _decided(told["decision"]), told["entry"])
    except _ODDITIES:
        return None


def encode_example(example: Example) -> dict[FieldT, EncodableT]:
    """Fields of an entry of a stream."""
    features = np.array(example.features, "<f4").tobytes()
    return {
        "f": features,
        "w": int(example.wrong),
        "r": example.regime,
        "o": example.origin,
    }


def decode_example(fields: dict[bytes, bytes]) -> Example | None:
    """The example; None when it is of another form."""
    try:
        features = np.frombuffer(fields[b"f"], "<f4").astype(np.float64)
        if not np.isfinite(features).all():
            return None
        return Example(
            int(fields[b"r"]), tuple(features.tolist()), fields[b"w"] == b"1", fields[b"o"].decode()
        )
    except _ODDITIES:
        return None


def _decision(decision: Decision) -> JsonObject:
    proposal = decision.proposal
    return {
        "answer": proposal.answer,
        "position": proposal.position,
        "similarity": proposal.similarity,
        "features": pack(proposal.features),
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "forecast": decision.forecast,
        "probability_wrong": decision.probability_wrong,
        "price": decision.price,
        "explored_with": decision.explored_with,
        "regime": decision.regime,
    }


def _decided(told: dict[str, object]) -> Decision:
    def number(name: str) -> float:
        return float(str(told[name]))

    def maybe(name: str) -> float | None:
        return None if told[name] is None else number(name)

    proposal = Proposal(
        answer=str(told["answer"]),
        position=int(number("position")),
        similarity=number("similarity"),
        features=unpack(told["features"], np.float64),
    )
    return Decision(
        proposal=proposal,
        verdict=Verdict(str(told["verdict"])),
        reason=Reason(str(told["reason"])),
        forecast=maybe("forecast"),
        probability_wrong=maybe("probability_wrong"),
        price=number("price"),
        explored_with=number("explored_with"),
        regime=int(number("regime")),
    )
