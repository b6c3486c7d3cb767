"""Arithmetic on money that is exact or fails: nothing here rounds."""

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

MAX_INTEGER_DIGITS = 30
MAX_FRACTION_DIGITS = 100
"""Bounds of one amount. Prices a token have about 12 decimals, and a division in a price book of
28 significant digits adds as many; what lies beyond is a defect of who wrote it."""

# Room for the bounds above and for the sum of 10^19 such amounts. The traps turn what would be
# rounded into an error.
_EXACT = Context(
    prec=MAX_INTEGER_DIGITS + MAX_FRACTION_DIGITS + 20,
    traps=[Inexact, InvalidOperation, Overflow],
)


def add(left: Decimal, right: Decimal) -> Decimal:
    """`left + right` to the last digit, whatever the precision of the current context."""
    return _EXACT.add(left, right)


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """`left - right` to the last digit."""
    return _EXACT.subtract(left, right)


def check_amount(amount: Decimal) -> Decimal:
    """`amount` itself.

    Raises:
        ValueError: it is negative, not finite or out of the bounds above.
    """
    if not amount.is_finite():
        raise ValueError("is not finite")
    if amount.is_signed() and amount:
        raise ValueError("is negative")
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent < -MAX_FRACTION_DIGITS or amount.adjusted() >= MAX_INTEGER_DIGITS:
        raise ValueError("has too many digits")
    return amount
