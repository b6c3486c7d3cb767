"""Tokens and money keep their exact value through every form they take."""

from dataclasses import fields
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh.common.v1 import money_pb2, usage_pb2
from infermesh_common.usage import (
    Usage,
    money_from_proto,
    money_to_proto,
    plain,
    usage_from_proto,
    usage_to_proto,
)

COUNT = st.integers(0, 2**40)
USAGES = st.builds(Usage, *(COUNT for _ in fields(Usage)))
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15)


@given(usage=USAGES)
def test_usage_survives_the_round_trip(usage: Usage) -> None:
    assert usage_from_proto(usage_to_proto(usage)) == usage


def test_every_bucket_of_the_contract_is_a_bucket_of_the_domain() -> None:
    assert [field.name for field in fields(Usage)] and {field.name for field in fields(Usage)} == {
        field.name for field in usage_pb2.TokenUsage.DESCRIPTOR.fields
    }


@given(usage=USAGES)
def test_every_token_is_counted_exactly_once(usage: Usage) -> None:
    buckets = [getattr(usage, field.name) for field in fields(Usage)]
    assert usage.total_tokens == sum(buckets)
    assert usage.all_input_tokens + usage.all_output_tokens == usage.total_tokens


@given(one=USAGES, other=USAGES)
def test_sums_are_taken_bucket_by_bucket(one: Usage, other: Usage) -> None:
    total = one + other
    for field in fields(Usage):
        name = field.name
        assert getattr(total, name) == getattr(one, name) + getattr(other, name)
    assert one + Usage() == one


@pytest.mark.parametrize("name", [field.name for field in fields(Usage)])
def test_a_negative_count_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must not be negative"):
        Usage(**{name: -1})
    with pytest.raises(ValueError, match=name):
        usage_from_proto(usage_pb2.TokenUsage(**{name: -1}))


@given(amount=AMOUNTS)
def test_money_survives_the_round_trip_exactly(amount: Decimal) -> None:
    message = money_to_proto(amount)
    assert message is not None and message.currency_code == "USD"
    assert money_from_proto(message) == amount


def test_unknown_money_stays_unknown_and_nothing_is_not_unknown() -> None:
    assert money_to_proto(None) is None
    nothing = money_to_proto(Decimal("0.000"))
    assert nothing is not None and nothing.amount == "0"


@given(amount=AMOUNTS)
def test_plain_notation_has_no_exponent_and_no_trailing_zero(amount: Decimal) -> None:
    text = plain(amount)
    assert Fraction(text) == Fraction(amount)
    assert set(text) <= set("-0123456789.")
    if "." in text:
        assert not text.endswith(("0", "."))
    assert text != "-0"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1E+3", "1000"),
        ("1.25E-5", "0.0000125"),
        ("-0.00", "0"),
        ("0E-30", "0"),
        ("100", "100"),
        ("0.10", "0.1"),
        ("-2.50", "-2.5"),
    ],
)
def test_plain_notation_of(amount: str, text: str) -> None:
    assert plain(Decimal(amount)) == text


@pytest.mark.parametrize(
    "amount", ["", "abc", "1,5", "NaN", "sNaN", "Infinity", "-Infinity", "0x1"]
)
def test_money_that_is_no_finite_decimal_is_refused(amount: str) -> None:
    with pytest.raises(ValueError):
        money_from_proto(money_pb2.Money(amount=amount, currency_code="USD"))


@pytest.mark.parametrize("currency", ["", "EUR", "usd"])
def test_money_of_another_currency_is_refused(currency: str) -> None:
    with pytest.raises(ValueError, match="currency must be USD"):
        money_from_proto(money_pb2.Money(amount="1", currency_code=currency))
