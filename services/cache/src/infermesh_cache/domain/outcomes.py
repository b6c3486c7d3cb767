"""What can come of a lookup and of a store."""

from dataclasses import dataclass
from enum import Enum

from infermesh_cache.domain.entry import Entry


class MissReason(Enum):
    """Why there is neither an entry nor a lease; the values are the contract's."""

    NOT_FOUND = "NOT_FOUND"
    WAIT_TIMED_OUT = "WAIT_TIMED_OUT"


@dataclass(frozen=True, slots=True)
class Hit:
    """There is an entry.

    Attributes:
        entry: the entry.
        shared: it was waited for.
    """

    entry: Entry
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """There is none, and the caller is to make it.

    Attributes:
        token: proves the right.
        ttl_ms: lost when not renewed within this time.
    """

    token: str
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Miss:
    """Neither an entry nor a lease."""

    reason: MissReason


@dataclass(frozen=True, slots=True)
class InFlight:
    """Somebody else is making the entry.

    Attributes:
        expires_in_ms: when that one's lease ends unless it is renewed.
        not_before_us: entries stored earlier do not count, in microseconds since the epoch. Fixed
            when the request arrived: what was stored while it waited is fresh for it.
    """

    expires_in_ms: int
    not_before_us: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Outcome of a store.

    Attributes:
        version: of the entry; 0 when it was not stored.
        reason: why not, UPPER_SNAKE; empty when stored.
    """

    version: int = 0
    reason: str = ""


STORE_LEASE_LOST = "LEASE_LOST"
"""Reason of a refused store: the lease is another's by now, or older than an invalidation."""
