"""Money is exact, whatever the decimal context of the caller."""

from decimal import Context, Decimal, Inexact, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_analytics.domain import money

AMOUNTS = st.decimals(
    min_value=0, max_value=Decimal("9" * 30), places=None, allow_nan=False, allow_infinity=False
).filter(lambda d: d.adjusted() > -60)


@given(AMOUNTS, AMOUNTS)
def test_sums_and_differences_equal_those_of_fractions(left: Decimal, right: Decimal) -> None:
    with localcontext(Context(prec=3)):
        assert Fraction(money.add(left, right)) == Fraction(left) + Fraction(right)
        assert Fraction(money.subtract(left, right)) == Fraction(left) - Fraction(right)


def test_what_cannot_be_exact_fails() -> None:
    with pytest.raises(Inexact):
        money.add(Decimal("1e200"), Decimal("1e-200"))


@pytest.mark.parametrize("text", ["0", "-0", "0.00", "1e-100", "9" * 30, "1e29"])
def test_amounts_within_bounds_pass(text: str) -> None:
    assert money.check_amount(Decimal(text)) == Decimal(text)


@pytest.mark.parametrize("text", ["-1", "NaN", "Infinity", "1e-101", "1e30", "-1e-100"])
def test_other_amounts_do_not(text: str) -> None:
    with pytest.raises(ValueError):
        money.check_amount(Decimal(text))
