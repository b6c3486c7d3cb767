"""Updates of the board as messages, for watchers outside and for this service itself."""

from collections.abc import AsyncIterator

from google.protobuf import duration_pb2

from infermesh.governance.v1 import identity_pb2
from infermesh_common.identity.directory import IdentityDirectory
from infermesh_governance.adapters.inbound.wire import snapshot_message
from infermesh_governance.application.board import SnapshotBoard
from infermesh_governance.domain.snapshot import Snapshot


class IdentityUpdates:
    """What every watcher gets, each snapshot made into a message once.

    Args:
        board: what is watched.
    """

    def __init__(self, board: SnapshotBoard) -> None:
        self._board = board
        self._made: tuple[Snapshot, identity_pb2.IdentitySnapshot] | None = None

    async def stream(self) -> AsyncIterator[identity_pb2.WatchIdentitiesResponse]:
        """See `SnapshotBoard.watch`."""
        async for update in self._board.watch():
            staleness = duration_pb2.Duration()
            staleness.FromMicroseconds(int(update.staleness_s * 1_000_000))
            yield identity_pb2.WatchIdentitiesResponse(
                version=update.version,
                staleness=staleness,
                snapshot=None if update.snapshot is None else self._message(update.snapshot),
            )

    async def feed(self, directory: IdentityDirectory) -> None:
        """Keeps this service's own directory in step, until the board is closed."""
        await self._board.wait_until_loaded()
        async for message in self.stream():
            directory.apply(message)

    def _message(self, snapshot: Snapshot) -> identity_pb2.IdentitySnapshot:
        if self._made is None or self._made[0] is not snapshot:
            self._made = snapshot, snapshot_message(snapshot)
        return self._made[1]
