"""What the governance service needs of the outside, by need."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from infermesh_governance.domain.keys import KeyRecord


@dataclass(frozen=True, slots=True)
class Head:
    """How far the store has got.

    Attributes:
        epoch: names one life of the store; another one means that its content was lost.
        version: grows by one with every change; 0 when nothing was ever stored.
    """

    epoch: str
    version: int


class KeyReader(Protocol):
    """Reads issued keys; every method raises Unavailable or DeadlineExceeded when it cannot."""

    async def head(self) -> Head:
        """How far the store has got."""
        ...

    async def changed(self, since: int, until: int) -> list[KeyRecord]:
        """Keys whose last change has a version in (since, until], perhaps in a later state."""
        ...

    async def forget(self, records: Iterable[KeyRecord]) -> None:
        """Deletes these keys; those that are gone already are no fault."""
        ...


class KeyStore(Protocol):
    """Changes issued keys, each change atomic and announced; errors as in `KeyReader`."""

    async def create(self, record: KeyRecord, request_id: str) -> str | None:
        """Stores a new key unless the request id was used before for the same tenant.

        Returns:
            None when it is stored, else the key id that the first request made.
        """
        ...

    async def revoke(self, record: KeyRecord, now_us: int) -> KeyRecord | None:
        """Revokes a key for good; a key revoked before keeps its first revoke time.

        Returns:
            The key as it is now; None when there is none.
        """
        ...


class ChangeFeed(Protocol):
    """Announcements that the store has changed; one may be lost, the poll makes up for it."""

    async def run(self) -> None:
        """Passes announcements on until cancelled."""
        ...
