"""Which answers are the same, by each comparison."""

from __future__ import annotations

import orjson
import pytest
from pydantic import ValidationError

from infermesh_cache.application.comparing import EmbeddingComparer, FormComparer, comparer_of
from infermesh_cache.domain.answers import (
    NotAnAnswer,
    exact_form,
    json_form,
    normalised_form,
    numeric_form,
    said,
)
from infermesh_cache.testing import WordEngine
from infermesh_common.errors import FailedPrecondition


def body(text: str | None = None, **message: object) -> bytes:
    return orjson.dumps({"choices": [{"message": {"content": text, **message}}]})


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("Paris.", "paris", True),
        ("It  is\n**Paris**!", "It is Paris", True),
        ("Paris", "Not Paris", False),
        ("5 %", "5 $", False),
        ("-1.5", "15", False),
        ("1.50 €", "1.5 €", True),
        ("1,000", "1000", True),
        ("1,5", "15", False),
        ("C", "C#", False),
        ("C++", "C", False),
        ("a 1 b", "a b 1", False),
        ("👍", "👎", False),
        ("Straße", "STRASSE", True),
        ("שלום", "שלום.", True),
        ("0.0", "-0", True),
    ],
)
def test_normalised_answers_differ_only_in_looks(left: str, right: str, same: bool) -> None:
    assert (normalised_form(left) == normalised_form(right)) is same


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("The result is 42.", "42", True),
        ("42 and 7", "7 and 42", False),
        ("no numbers here", "No numbers, here!", True),
        ("no numbers here", "none", False),
        ("1e3", "1000", True),
        ("x2 is a name", "x is a name", False),
    ],
)
def test_numeric_answers_have_the_same_numbers(left: str, right: str, same: bool) -> None:
    assert (numeric_form(left) == numeric_form(right)) is same


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ('{"a": 1, "b": [2]}', '{"b":[2],"a":1}', True),
        ('```json\n{"a": 1}\n```', '{"a":1}', True),
        ('{"a": 1}', '{"a": 2}', False),
        ("[1, 2]", "[2, 1]", False),
        ("not JSON", "Not JSON!", True),
    ],
)
def test_json_answers_are_the_same_value(left: str, right: str, same: bool) -> None:
    assert (json_form(left) == json_form(right)) is same


def test_all_of_a_message_is_said() -> None:
    def call(city: str, identifier: str) -> dict[str, object]:
        arguments = orjson.dumps({"city": city}).decode()
        return {"id": identifier, "function": {"name": "weather", "arguments": arguments}}

    paris = said(body(tool_calls=[call("Paris", "call-1")]))
    assert paris == said(body(tool_calls=[call("Paris", "call-2")]))
    assert paris != said(body(tool_calls=[call("Lyon", "call-1")]))
    assert said(body(refusal="No.")) != said(body("No."))
    assert said(body([{"type": "text", "text": "a"}]))


@pytest.mark.parametrize("broken", [b"", b"{}", b"[]", b'{"choices": [{}]}', b'{"choices": 1}'])
async def test_what_is_no_answer_is_like_nothing_else(broken: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        said(broken)
    comparer = FormComparer(exact_form)
    assert await comparer.same(broken, broken, "q")
    assert not await comparer.same(broken, body("x"), "q")


async def test_embeddings_agree_when_words_and_numbers_do() -> None:
    comparer = EmbeddingComparer(WordEngine(), 0.9)
    long = "you can return the parcel within days of delivery for a full refund of the price"
    assert await comparer.same(body(long), body(long + " paid"), "q")
    assert not await comparer.same(body(long), body("something else entirely"), "q")
    assert not await comparer.same(body(f"{long} 14"), body(f"{long} 30"), "q")
    assert await comparer.same(body("Yes."), body("yes"), "q")
    assert not await comparer.same(body(""), body("yes"), "q")
    assert not await comparer.same(b"{}", body("yes"), "q")
    assert comparer.identity(body("Yes.")) == comparer.identity(body("yes"))


def test_a_policy_names_its_comparison() -> None:
    from infermesh_cache.adapters.outbound.resource_policies import rules_from
    from infermesh_common.resources.types import CachePolicySpec, SemanticSpec

    for name in ("exact", "normalised", "numeric", "json", "embedding"):
        spec = CachePolicySpec(semantic=SemanticSpec(enabled=True, comparison=name))
        rules = rules_from(spec).semantic
        assert rules is not None
        expected = EmbeddingComparer if name == "embedding" else FormComparer
        assert isinstance(comparer_of(rules, WordEngine(), None), expected)
        assert rules.overlooked == (0.1 if name in ("numeric", "embedding") else 0.0)


def test_a_judge_needs_its_measured_error_and_to_be_there() -> None:
    from infermesh_cache.adapters.outbound.resource_policies import rules_from
    from infermesh_common.resources.types import CachePolicySpec, SemanticSpec

    with pytest.raises(ValidationError, match="judge needs overlooked"):
        SemanticSpec(enabled=True, comparison="judge")
    spec = SemanticSpec(enabled=True, comparison="judge", overlooked=0.07)
    rules = rules_from(CachePolicySpec(semantic=spec)).semantic
    assert rules is not None and rules.overlooked == 0.07
    with pytest.raises(FailedPrecondition) as error:
        comparer_of(rules, WordEngine(), None)
    assert error.value.reason == "JUDGE_MISSING"
