"""Token counts and money as the domain uses them, and their protobuf forms."""

import operator
from dataclasses import dataclass, fields
from decimal import Decimal

from infermesh.common.v1 import money_pb2, usage_pb2

CURRENCY = "USD"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one inference in disjoint buckets; their sum is the total.

    See `infermesh.common.v1.TokenUsage` for what each bucket holds.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    batch_input_tokens: int = 0
    batch_output_tokens: int = 0
    cache_write_input_tokens: int = 0

    def __post_init__(self) -> None:
        if min(self.counts()) < 0:
            negative = [name for name in BUCKETS if getattr(self, name) < 0]
            raise ValueError(f"{', '.join(negative)} must not be negative")

    def counts(self) -> tuple[int, ...]:
        """The tokens of each of `BUCKETS`, in their order."""
        return (
            self.input_tokens,
            self.cached_input_tokens,
            self.output_tokens,
            self.reasoning_tokens,
            self.batch_input_tokens,
            self.batch_output_tokens,
            self.cache_write_input_tokens,
        )

    @property
    def total_tokens(self) -> int:
        """Sum of all buckets."""
        return sum(self.counts())

    @property
    def all_input_tokens(self) -> int:
        """Everything that went in."""
        return (
            self.input_tokens
            + self.cached_input_tokens
            + self.cache_write_input_tokens
            + self.batch_input_tokens
        )

    @property
    def all_output_tokens(self) -> int:
        """Everything that came out, hidden reasoning included."""
        return self.output_tokens + self.reasoning_tokens + self.batch_output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*map(operator.add, self.counts(), other.counts()))


BUCKETS = tuple(field.name for field in fields(Usage))
"""Names of the disjoint counts of tokens."""


def usage_to_proto(usage: Usage) -> usage_pb2.TokenUsage:
    """The protobuf form of `usage`."""
    message = usage_pb2.TokenUsage()
    fill_usage(message, usage)
    return message


def fill_usage(message: usage_pb2.TokenUsage, usage: Usage) -> None:
    """Writes `usage` into an empty `message`; a count of 0 is the absence of one."""
    for name, count in zip(BUCKETS, usage.counts(), strict=True):
        if count:
            setattr(message, name, count)


def usage_from_proto(message: usage_pb2.TokenUsage) -> Usage:
    """The domain form of `message`.

    Raises:
        ValueError: a count is negative.
    """
    return Usage(*(getattr(message, name) for name in BUCKETS))


def plain(amount: Decimal) -> str:
    """`amount` in plain notation without trailing zeros, for example "0.0000125"."""
    text = f"{amount:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def money_to_proto(amount: Decimal | None) -> money_pb2.Money | None:
    """US dollars as protobuf; None stays None, for unknown is not 0."""
    if amount is None:
        return None
    message = money_pb2.Money()
    fill_money(message, amount)
    return message


def fill_money(message: money_pb2.Money, amount: Decimal | None) -> None:
    """Writes US dollars into an empty `message`; leaves it absent when they are unknown."""
    if amount is not None:
        message.amount = plain(amount)
        message.currency_code = CURRENCY


def money_from_proto(message: money_pb2.Money) -> Decimal:
    """The amount in `message`.

    Raises:
        ValueError: it is not a finite decimal number, or not in US dollars.
    """
    if message.currency_code != CURRENCY:
        raise ValueError(f"currency must be {CURRENCY}, not {message.currency_code!r}")
    try:
        amount = Decimal(message.amount)
    except ArithmeticError as error:
        raise ValueError(f"{message.amount!r} is not a decimal number") from error
    if not amount.is_finite():
        raise ValueError(f"{message.amount!r} is not finite")
    return amount
