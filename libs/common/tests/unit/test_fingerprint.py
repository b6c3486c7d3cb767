"""Equal fingerprints mean that one answer serves both requests; nothing else makes them equal."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infermesh_common.errors import InvalidArgument
from infermesh_common.fingerprint import DELIVERY_FIELDS, fingerprint

Body = dict[str, object]
NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | NAMES
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=5)
MODELS = st.lists(st.sampled_from(["a", "b", "a-b", "a,b", ""]), max_size=4)


def of(
    body: Mapping[str, object],
    *,
    protocol: str = "openai.chat",
    models: tuple[str, ...] = ("m",),
    epoch: int = 0,
) -> bytes:
    return fingerprint(protocol=protocol, models=models, body=body, epoch=epoch)


def shuffled(value: object) -> object:
    """The same JSON with the members of every object in another order."""
    if isinstance(value, dict):
        return {name: shuffled(inner) for name, inner in reversed(value.items())}
    if isinstance(value, list):
        return [shuffled(inner) for inner in value]
    return value


def canonical(value: object) -> str:
    """JSON text in one form, by another library than the one under test."""
    return json.dumps(value, sort_keys=True)


@given(body=BODIES)
def test_the_order_of_members_does_not_matter_at_any_depth(body: Body) -> None:
    other = shuffled(body)
    assert isinstance(other, dict)
    assert of(other) == of(body)
    assert len(of(body)) == 32


@given(body=BODIES, field=st.sampled_from(sorted(DELIVERY_FIELDS)), value=VALUES)
def test_how_an_answer_is_delivered_does_not_matter(body: Body, field: str, value: object) -> None:
    without = {name: inner for name, inner in body.items() if name != field}
    assert of({**without, field: value}) == of(without)


@given(body=BODIES, name=NAMES, field=st.sampled_from(sorted(DELIVERY_FIELDS)), value=VALUES)
def test_delivery_fields_count_where_they_are_not_at_the_top(
    body: Body, name: str, field: str, value: object
) -> None:
    assume(name not in DELIVERY_FIELDS)
    assert of({**body, name: {field: value}}) != of({**body, name: {}})


@given(one=BODIES, other=BODIES)
def test_requests_that_differ_in_anything_else_differ(one: Body, other: Body) -> None:
    def relevant(body: Body) -> str:
        return canonical({n: v for n, v in body.items() if n not in DELIVERY_FIELDS})

    assert (of(one) == of(other)) == (relevant(one) == relevant(other))


@given(body=BODIES, name=NAMES, one=VALUES, other=VALUES)
def test_every_field_counts_whatever_it_is_called(
    body: Body, name: str, one: object, other: object
) -> None:
    assume(name not in DELIVERY_FIELDS and canonical(one) != canonical(other))
    assert of({**body, name: one}) != of({**body, name: other})
    without = {known: value for known, value in body.items() if known != name}
    assert of({**body, name: one}) != of(without)


@given(one=MODELS, other=MODELS)
def test_models_are_a_set(one: list[str], other: list[str]) -> None:
    same = set(one) == set(other)
    assert (of({}, models=tuple(one)) == of({}, models=tuple(other))) == same


@given(one=NAMES, other=NAMES, epochs=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_protocol_and_epoch_count(one: str, other: str, epochs: tuple[int, int]) -> None:
    same = one == other and epochs[0] == epochs[1]
    first = of({}, protocol=one, epoch=epochs[0])
    assert (first == of({}, protocol=other, epoch=epochs[1])) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (0, None),
        ("1", 1),
        (0.0, -0.0),
        ([], {}),
        ("", None),
        (["a", "b"], ["b", "a"]),
        ("é", "e\u0301"),
        (2**53, 2**53 + 1),
    ],
)
def test_values_that_python_or_a_reader_may_confuse_are_told_apart(
    one: object, other: object
) -> None:
    assert of({"a": one}) != of({"a": other})


def nested(depth: int, *, lists: bool = False) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value] if lists else {"a": value}
    return value


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_nesting_is_the_callers_fault(depth: int, lists: bool) -> None:
    with pytest.raises(InvalidArgument) as caught:
        of({"a": nested(depth, lists=lists)})
    assert caught.value.reason == "REQUEST_NOT_CANONICAL"
    assert of({"a": nested(50, lists=lists)})


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), 2**64, -(2**63) - 1, "\ud800", {1: 2}]
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [None, v], lambda v: {"b": (v,)}])
def test_what_json_cannot_say_is_refused_and_not_confused_with_null(
    value: object, wrap: object
) -> None:
    assert callable(wrap)
    with pytest.raises(InvalidArgument) as caught:
        of({"a": wrap(value)})
    assert caught.value.reason == "REQUEST_NOT_CANONICAL"
    assert of({"a": wrap(None)}) != of({"a": wrap("null")})


def test_a_fingerprint_is_the_same_in_every_process_and_release() -> None:
    """A change of the canonical form must come with a new version, or caches mix the two."""
    body = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "user": "u"}
    digest = fingerprint(protocol="openai.chat", models=["b", "a"], body=body, epoch=3)
    assert digest.hex() == "7709928827a0a3e319bba2d3c68b657141552c6e4a4ebbfd12a88434f81eecdd"
