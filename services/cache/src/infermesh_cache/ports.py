"""What the cache needs from the world."""

from dataclasses import dataclass
from typing import Protocol

from infermesh_cache.domain.entry import Answer
from infermesh_cache.domain.keys import Slot
from infermesh_cache.domain.outcomes import Hit, InFlight, Lease, Miss
from infermesh_cache.domain.policy import CacheRules
from infermesh_cache.domain.selection import Selection


@dataclass(frozen=True, slots=True)
class Put:
    """What came of putting an entry.

    Attributes:
        version: of the entry; None when the lease had been lost.
        evicted: entries that had to go for it.
        over_bound: the tenant is still above its bound: `EntryStore.maintain` has work to do.
    """

    version: int | None
    evicted: int = 0
    over_bound: bool = False


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one round of maintenance did.

    Attributes:
        evicted: entries that went because of the size bound.
        more: there is more to do.
    """

    evicted: int
    more: bool


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a tenant has stored.

    Attributes:
        entries: number of entries, those of earlier epochs included until their time is over.
        stored_bytes: their bytes as stored.
    """

    entries: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Removed:
    """One batch of an invalidation.

    Attributes:
        count: live entries removed.
        cursor: where the next batch begins; "0" when this was the last.
    """

    count: int
    cursor: str


class FlightStore(Protocol):
    """Where flights are decided; each method is atomic.

    Every method raises `Unavailable` or `DeadlineExceeded` when the store does not answer in time.
    """

    async def find(
        self,
        slot: Slot,
        *,
        max_age_us: int | None = None,
        not_before_us: int = 0,
        lease: Lease | None = None,
    ) -> Hit | Lease | InFlight | Miss:
        """The entry if it is fresh; else `lease` when it is given and no other is held.

        Args:
            slot: where to look.
            max_age_us: oldest acceptable age, in microseconds.
            not_before_us: or the earliest acceptable store time, when there is no `max_age_us`.
            lease: what to take on a miss; None to take none.
        """

    async def release(self, slot: Slot, token: str) -> None:
        """Gives the lease of `token` up, if it is held, and wakes those who wait."""


class EntryStore(FlightStore, Protocol):
    """Entries and leases of all tenants; as `FlightStore`."""

    async def put(
        self,
        slot: Slot,
        answer: Answer,
        stored: bytes,
        *,
        token: str,
        ttl_ms: int,
        max_tenant_bytes: int,
    ) -> Put:
        """Stores an answer, ends the flight of `token` and wakes those who wait.

        Args:
            slot: where to.
            answer: for the indexes.
            stored: the answer out of `AnswerCodec.encode`.
            token: of the lease held; empty for none.
            ttl_ms: how long to keep it.
            max_tenant_bytes: above it, least recently used entries go.
        """

    async def renew(self, slot: Slot, lease: Lease) -> bool:
        """Gives the lease its whole time again; False when it had been lost."""

    async def holds(self, slot: Slot) -> bool:
        """Whether there is an entry."""

    async def forget(self, slot: Slot) -> bool:
        """Removes an entry and outdates its flight; whether there was an entry."""

    async def outdate_flights(self, tenant: str) -> int:
        """Makes every lease of `tenant` lost; returns the generation that begins."""

    async def remove_batch(
        self, tenant: str, selection: Selection, *, before_generation: int, cursor: str
    ) -> Removed:
        """Removes some of the entries of earlier generations."""

    async def count(self, tenant: str, selection: Selection) -> int:
        """Entries that `selection` names, exactly."""

    async def holdings(self, tenant: str) -> Holdings:
        """What `tenant` has stored, exactly."""

    async def maintain(self, tenant: str, max_tenant_bytes: int | None) -> Maintained:
        """Clears some expired entries away and enforces the bound, if one is given."""


class AnswerCodec(Protocol):
    """The stored form of answers."""

    async def encode(self, slot: Slot, answer: Answer, ttl_ms: int) -> bytes:
        """The stored form of `answer`, bound to its slot, with how long it will be kept."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since some moment.

    Attributes:
        cursor: names the moment up to which they are told.
        tenants: whose entries were invalidated or replaced; None: anybody's may have been.
    """

    cursor: str
    tenants: frozenset[str] | None


class ChangeLog(Protocol):
    """Which tenants' entries were invalidated or replaced, in the order of it.

    Both methods raise `Unavailable` or `DeadlineExceeded` when the log does not answer in time.
    """

    async def note(self, tenant: str) -> None:
        """Writes down that entries of `tenant` are no longer what they were."""

    async def since(self, cursor: str) -> Changes:
        """What was noted after `cursor`, an empty one or one out of `Changes`."""


class Policies(Protocol):
    """The policies in force."""

    def rules_of(self, tenant: str) -> CacheRules:
        """The rules of `tenant`.

        Raises:
            FailedPrecondition: TENANT_UNKNOWN, no such tenant is declared.
        """

    def tenants(self) -> dict[str, CacheRules | None]:
        """Every tenant that is or was declared; None for those that no longer are."""


class FlightListener(Protocol):
    """Wants to know when flights end."""

    def flight_ended(self, flight: str) -> None:
        """The flight of that name stored an answer or gave up."""

    def announcements_missed(self) -> None:
        """Any number of flights may have ended unheard."""
