"""What is asked of the ledger, and its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import ClassVar

from infermesh_analytics.domain.event import MAX_TIME_US, MIN_TIME_US
from infermesh_common.errors import InvalidArgument, PermissionDenied
from infermesh_common.identity.model import Identity, Role
from infermesh_common.usage import Usage

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


class Dimension(Enum):
    """What usage can be grouped by, in the order in which keys are compared."""

    TENANT = "tenant"
    MODEL = "model"
    TAG = "tag"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events count. None does not restrict.

    Attributes:
        start_us: inclusive, microseconds since the epoch.
        end_us: exclusive, microseconds since the epoch.
    """

    tenant: str | None = None
    model: str | None = None
    tag: str | None = None
    start_us: int | None = None
    end_us: int | None = None

    def __post_init__(self) -> None:
        for name in ("tenant", "model", "tag"):
            if "\0" in (getattr(self, name) or ""):
                raise InvalidArgument(
                    "INVALID_FILTER", f"{name} holds a NUL character.", field=f"filter.{name}"
                )
        for name, time_us in (("start_time", self.start_us), ("end_time", self.end_us)):
            if time_us is not None and not MIN_TIME_US <= time_us <= MAX_TIME_US:
                raise InvalidArgument(
                    "INVALID_TIME_RANGE", f"{name} is out of range.", field=f"filter.{name}"
                )
        if self.start_us is not None and self.end_us is not None and self.start_us > self.end_us:
            raise InvalidArgument(
                "INVALID_TIME_RANGE",
                "start_time must not be after end_time.",
                field="filter.start_time",
            )


Key = str | date


@dataclass(frozen=True, slots=True)
class UsagePosition:
    """A row in the order of rows: where a page ends.

    Attributes:
        baseline: what the row is ordered by: its baseline, or -1 when that is unknown.
        keys: of its group, in the order of `Dimension`.
    """

    baseline: Decimal
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class EventPosition:
    """An event in the order of events.

    Attributes:
        request_time_us: microseconds since the epoch.
        event_id: hexadecimal UUID.
    """

    request_time_us: int
    event_id: str


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """Sums over one group of events.

    Attributes:
        keys: of the group, in the order of `Dimension`.
        events: all events of the group.
        requests: events that succeeded.
        cache_hits: of these, served from a cache.
        cost: US dollars, exact; None when no event of the group has a known cost.
        baseline_cost: likewise.
        saved: likewise, over events in which both are known.
        unpriced: events whose cost is unknown.
        usage: tokens billed.
    """

    UNKNOWN_BASELINE: ClassVar[Decimal] = Decimal(-1)
    """What stands for an unknown baseline in the order: less than any known one."""

    keys: tuple[Key, ...]
    events: int
    requests: int
    cache_hits: int
    cost: Decimal | None
    baseline_cost: Decimal | None
    saved: Decimal | None
    unpriced: int
    usage: Usage

    @property
    def failures(self) -> int:
        """Events that failed or were cancelled."""
        return self.events - self.requests

    @property
    def hit_rate(self) -> float:
        """Share of requests served from a cache; 0 without requests."""
        return self.cache_hits / self.requests if self.requests else 0.0

    @property
    def position(self) -> UsagePosition:
        """Where the group stands in the order of rows: largest baseline first, unknown last."""
        known = self.baseline_cost
        return UsagePosition(self.UNKNOWN_BASELINE if known is None else known, self.keys)


def dimensions(group_by: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """The dimensions to group by, in the order of `Dimension`.

    Raises:
        InvalidArgument: DUPLICATE_DIMENSION.
    """
    if len(set(group_by)) != len(group_by):
        raise InvalidArgument(
            "DUPLICATE_DIMENSION", "group_by names a dimension twice.", field="group_by"
        )
    return tuple(dimension for dimension in Dimension if dimension in group_by)


def page_size(wanted: int) -> int:
    """Items of one page.

    Raises:
        InvalidArgument: INVALID_PAGE_SIZE.
    """
    if wanted < 0:
        raise InvalidArgument(
            "INVALID_PAGE_SIZE", "page_size must not be negative.", field="page.page_size"
        )
    return min(wanted, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def visible_tenant(caller: Identity, wanted: str | None) -> str | None:
    """The tenant whose events `caller` sees; None is every one.

    Args:
        caller: who asks.
        wanted: tenant that was asked for; None for whatever the caller may see.

    Raises:
        PermissionDenied: TENANT_FORBIDDEN, or TENANT_REQUIRED for a service that acts for none.
    """
    if caller.role is Role.OPERATOR:
        return wanted
    if not caller.tenant:
        raise PermissionDenied("TENANT_REQUIRED", "The caller acts for no tenant.")
    if wanted is not None and wanted != caller.tenant:
        raise PermissionDenied("TENANT_FORBIDDEN", "Usage of another tenant cannot be read.")
    return caller.tenant
