"""One inference as the ledger keeps it."""

from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from uuid import UUID

from infermesh_analytics.domain import money
from infermesh_common.usage import Usage

MAX_TOKENS = 10**12
"""Most tokens of one bucket of one event: keeps sums far from the end of 64 bits."""
USAGE_BUCKETS = tuple(field.name for field in fields(Usage))
"""Names of the disjoint counts of tokens."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_TIME_US = int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) / timedelta(microseconds=1))
MAX_TIME_US = int((datetime.max.replace(tzinfo=UTC) - _EPOCH) / timedelta(microseconds=1))
"""First and last microsecond that a protobuf timestamp and a date can hold."""


class Outcome(IntEnum):
    """How an inference ended; numbers are those of `infermesh.analytics.v1.Outcome`."""

    SUCCEEDED = 1
    FAILED = 2
    CANCELLED = 3


class CacheStatus(IntEnum):
    """The cache statuses that count as served from a cache; numbers are those of
    `infermesh.common.v1.CacheStatus`."""

    HIT = 1
    SHARED = 7


class InvalidEvent(Exception):
    """An event that must not be counted. The message says why, without the event's content."""


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """A usage event that has been checked.

    Attributes:
        event_id: what makes it count once.
        request_time_us: microseconds since the epoch, UTC.
        cost: US dollars; None is unknown.
        baseline_cost: US dollars; None is unknown.
        cache_status: number of `infermesh.common.v1.CacheStatus`.
        tier: number of `infermesh.common.v1.CacheTier`.
        tags: each once.
        payload: the whole event, serialised.
        duration_us: whole time in the router, microseconds.
        first_byte_us: time to the first byte of the answer, microseconds.

    Raises:
        InvalidEvent: it would make the ledger wrong.
    """

    event_id: UUID
    tenant: str
    request_time_us: int
    key_id: str
    model: str
    provider: str
    requested_model: str
    protocol: str
    task: str
    streamed: bool
    outcome: Outcome
    error_reason: str
    cache_status: int
    tier: int
    cost: Decimal | None
    baseline_cost: Decimal | None
    baseline_model: str
    price_version: str
    usage: Usage
    duration_us: int
    first_byte_us: int
    tags: tuple[str, ...]
    payload: bytes

    def __post_init__(self) -> None:
        if not self.tenant:
            raise InvalidEvent("the tenant is missing")
        if not MIN_TIME_US <= self.request_time_us <= MAX_TIME_US:
            raise InvalidEvent("request_time is out of range")
        for name in ("cost", "baseline_cost"):
            if (amount := getattr(self, name)) is not None:
                try:
                    money.check_amount(amount)
                except ValueError as error:
                    raise InvalidEvent(f"{name} {error}") from error
        for bucket in USAGE_BUCKETS:
            if getattr(self.usage, bucket) > MAX_TOKENS:
                raise InvalidEvent(f"{bucket} is out of range")

    @property
    def day(self) -> date:
        """Day of the request in UTC."""
        return (_EPOCH + timedelta(microseconds=self.request_time_us)).date()

    @property
    def saved(self) -> Decimal | None:
        """baseline_cost - cost; None when either is unknown.

        Derived here rather than taken from the event, so that the three columns always agree.
        """
        if self.cost is None or self.baseline_cost is None:
            return None
        return money.subtract(self.baseline_cost, self.cost)
