"""What the vector database consists of: the index in this process and the store behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from infermesh_cache.semantic_ports import Floats, Near, Removal, VectorRecord


@dataclass(frozen=True, slots=True, eq=False)
class Stamped:
    """A record as of a time.

    Attributes:
        record: it.
        stamp_us: when it was last written, microseconds since the epoch; of two writes of one
            entry the later one counts, and a removal takes what was written before it.
    """

    record: VectorRecord
    stamp_us: int


@dataclass(frozen=True, slots=True)
class Removed:
    """A removal that took place.

    Attributes:
        removal: what it named.
        stamp_us: it took what was written until then.
    """

    removal: Removal
    stamp_us: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what the store holds of a tenant.

    Attributes:
        records: in no order.
        removals: likewise.
        from_us: stamps of all there is from `from_us` (inclusive)
        until_us: to `until_us` (exclusive) are in this page.
    """

    records: Sequence[Stamped]
    removals: Sequence[Removed]
    from_us: int
    until_us: int


class HotTier(Protocol):
    """Records in this process. No call waits for a network."""

    async def nearest(
        self,
        tenant: str,
        context: str,
        scopes: Sequence[str],
        vector: Floats,
        limit: int,
        now_us: int,
    ) -> Sequence[Near]:
        """As `VectorDatabase.nearest`.

        Raises:
            InvalidArgument: INVALID_VECTOR.
            Unavailable: VECTORS_OVERLOADED.
        """

    async def put(self, tenant: str, item: Stamped) -> frozenset[str]:
        """Stores a record unless a later one of its name is there; evicts the least recently used
        where the tenant, or all of them, hold too many. Tenants of which some were evicted.

        Raises:
            InvalidArgument: INVALID_VECTOR, INVALID_VECTOR_RECORD, VECTOR_TEXT_TOO_LONG.
            ResourceExhausted: VECTOR_QUOTA_EXCEEDED, the tenant may hold none.
            Unavailable: VECTORS_OVERLOADED.
        """

    async def load(self, tenant: str, items: Sequence[Stamped], now_us: int) -> bool:
        """Stores what was read from the store; evicts nothing for it. Whether there was room for
        all. Returns when the index has taken them in."""

    async def set_answer(
        self, tenant: str, entry_id: str, answer: str, stamp_us: int
    ) -> Stamped | None:
        """Changes an answer; the record as it is now."""

    async def remove(self, tenant: str, removed: Removed, *, dry_run: bool) -> int:
        """Removes what was written until the stamp; how many records."""

    async def count(self, tenant: str) -> int:
        """Records of a tenant that have not been swept."""

    async def sweep(self, now_us: int) -> int:
        """Removes what has expired, of all tenants; how many records."""

    async def holds(self, tenant: str, entry_ids: Sequence[str]) -> frozenset[str]:
        """Those of the names that it has records of."""

    async def page(self, tenant: str, after: int, limit: int) -> tuple[Sequence[Stamped], int]:
        """Records after a place, and the place to go on from; -1 at the end. Begin with 0."""


class VectorStore(Protocol):
    """Records that outlive the process, of one embedding space.

    All methods raise Unavailable or DeadlineExceeded when it does not answer in time.
    """

    async def open(self) -> str:
        """Makes what is missing. Identity of what it stores: another one after it was wiped."""

    async def nearest(
        self,
        tenant: str,
        context: str,
        scopes: Sequence[str],
        vector: Floats,
        limit: int,
        now_us: int,
    ) -> Sequence[tuple[Near, int]]:
        """As `VectorDatabase.nearest`; with the stamp of each record."""

    async def put(self, items: Sequence[tuple[str, Stamped]]) -> None:
        """Stores records of tenants."""

    async def remove(self, tenant: str, removed: Removed) -> None:
        """Removes what was written until the stamp, and says so to those who page."""

    async def page(self, tenant: str, from_us: int, until_us: int) -> Page:
        """Records and removals with stamps from `from_us` to `until_us`, or of the latest part of
        that time when they are many."""

    async def get(self, tenant: str, entry_id: str) -> Stamped | None:
        """A record."""

    async def count(self, tenant: str, removal: Removal, now_us: int) -> int:
        """Records that a removal would take."""

    async def purge(self, tenant: str, now_us: int) -> None:
        """Forgets what has expired."""

    async def close(self) -> None:
        """Ends its connections."""
