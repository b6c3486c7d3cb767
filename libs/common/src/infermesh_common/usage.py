"""Token counts and money as the domain uses them, and their protobuf forms."""

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
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} must not be negative")

    @property
    def total_tokens(self) -> int:
        """Sum of all buckets."""
        return sum(getattr(self, field.name) for field in fields(self))

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
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def usage_to_proto(usage: Usage) -> usage_pb2.TokenUsage:
    """The protobuf form of `usage`."""
    return usage_pb2.TokenUsage(**{f.name: getattr(usage, f.name) for f in fields(usage)})


def usage_from_proto(message: usage_pb2.TokenUsage) -> Usage:
    """The domain form of `message`.

    Raises:
        ValueError: a count is negative.
    """
    return Usage(**{f.name: getattr(message, f.name) for f in fields(Usage)})


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
    return money_pb2.Money(amount=plain(amount), currency_code=CURRENCY)


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
