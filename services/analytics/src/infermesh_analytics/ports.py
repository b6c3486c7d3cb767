"""What the ledger needs from outside, by need."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from infermesh_analytics.domain.event import LedgerEvent
from infermesh_analytics.domain.query import (
    Dimension,
    EventFilter,
    EventPosition,
    UsageGroup,
    UsagePosition,
)


class StreamUnavailable(Exception):
    """The stream does not answer; what is not acknowledged will be delivered again."""


class LedgerUnavailable(Exception):
    """The database does not answer or cannot work; a retry may help."""


class EventRefused(Exception):
    """The database refuses the content of at least one event. The message says why."""


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of the stream.

    Attributes:
        entry_id: its id in the stream.
        payload: the serialised event; None when the entry has none, as one that was trimmed
            before it was read.
    """

    entry_id: str
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class StreamBatch:
    """New entries.

    Attributes:
        entries: in order.
        full: as many as are read at once: there may be more.
        overrun: whether the stream had been trimmed past what the group had read: events are lost.
    """

    entries: Sequence[StreamEntry]
    overrun: bool
    full: bool = False


class UsageStream(Protocol):
    """The events on their way, shared by the replicas. Every method raises StreamUnavailable."""

    async def open(self) -> None:
        """Makes the group where it is missing; it begins with the oldest entry."""

    async def read_own(self, after: str) -> Sequence[StreamEntry]:
        """Entries delivered to this consumer and not acknowledged, in order.

        Args:
            after: id of the last one seen; "0" for the first ones.
        """

    async def claim_abandoned(self) -> int:
        """Takes over what other consumers hold for too long; returns how many entries."""

    async def read_new(self) -> StreamBatch:
        """Entries that no consumer has; waits a moment for the first."""

    async def acknowledge(self, entry_ids: Collection[str]) -> None:
        """Says that these need not be delivered again."""

    async def bury(self, entry: StreamEntry, reason: str) -> bool:
        """Moves an entry to the dead-letter stream; False when another replica has done so."""

    async def tidy(self) -> int:
        """Drops what every group has acknowledged; returns how many entries nobody has read."""


class LedgerWriter(Protocol):
    """Where events are kept."""

    async def prepare(self) -> None:
        """Brings the schema up to date. Raises LedgerUnavailable."""

    async def store(self, events: Sequence[LedgerEvent]) -> Collection[UUID]:
        """Stores all or none, each event once; returns the ids that were not there before.

        Raises:
            LedgerUnavailable: nothing is known to be stored.
            EventRefused: nothing is stored.
        """


class LedgerReader(Protocol):
    """Reads what is kept. Every method raises Unavailable or DeadlineExceeded."""

    async def usage(
        self,
        group_by: Sequence[Dimension],
        where: EventFilter,
        after: UsagePosition | None,
        limit: int,
    ) -> list[UsageGroup]:
        """Groups behind `after`: largest baseline first, then by key."""

    async def event(self, event_id: UUID, tenant: str | None) -> bytes | None:
        """The serialised event; None when `tenant` (None: any) has none of that id."""

    async def events(
        self, where: EventFilter, after: EventPosition | None, limit: int
    ) -> list[tuple[EventPosition, bytes]]:
        """Serialised events behind `after`, newest first."""
