"""The snapshot in force, and those who watch it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import structlog

from infermesh_common.errors import Unavailable
from infermesh_governance.domain.keys import KeyRecord
from infermesh_governance.domain.snapshot import Snapshot, Tenant, compose

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Update:
    """What a watcher is told.

    Attributes:
        version: of the snapshot that this watcher holds from now on.
        staleness_s: time since the snapshot was confirmed with the store.
        snapshot: at the start and after a change; None on a heartbeat.
    """

    version: int
    staleness_s: float
    snapshot: Snapshot | None


class SnapshotBoard:
    """Puts keys and tenants together and shows the result to any number of watchers.

    There is no snapshot before the issued keys were read once: a partial one would make every
    service refuse keys that it knew to be good.

    The version a watcher sees is the time, in microseconds, at which the snapshot was handed to
    it, plus one where that would repeat a version of this process. A counter of the store would
    miss changes of resources and start again with an emptied store; counters of each replica would
    fall when a watcher moves to another one. A moment of sending is later than any before it on
    whichever replica, as far as their clocks agree, and where they do not, a watcher still follows:
    each stream begins with a snapshot, and versions are compared within a stream only.

    Args:
        staleness_s: seconds since the issued keys were confirmed with the store.
        heartbeat_s: longest time between two messages to a watcher.
        now_us: microseconds since the epoch.
    """

    def __init__(
        self,
        *,
        staleness_s: Callable[[], float],
        heartbeat_s: float,
        now_us: Callable[[], int],
    ) -> None:
        self._staleness_s = staleness_s
        self._heartbeat_s = heartbeat_s
        self._now_us = now_us
        self._issued: Mapping[str, KeyRecord] | None = None
        self._declared: Mapping[str, KeyRecord] = {}
        self._version = 0
        self._changed = asyncio.Event()
        self._closed = False
        self.tenants: Mapping[str, Tenant] = {}
        self.snapshot: Snapshot | None = None

    def put_issued(self, keys: Mapping[str, KeyRecord]) -> None:
        """Takes over all issued keys, by key id."""
        self._issued = keys
        self._publish()

    def put_declared(self, keys: Mapping[str, KeyRecord]) -> None:
        """Takes over all declared keys and the operator's of the settings, by key id."""
        self._declared = keys
        self._publish()

    def put_tenants(self, tenants: Mapping[str, Tenant]) -> None:
        """Takes over all tenants, by name."""
        self.tenants = tenants
        self._publish()

    def loaded(self) -> Snapshot:
        """The snapshot in force.

        Raises:
            Unavailable: the store could not be read yet.
        """
        if self.snapshot is None:
            raise Unavailable(
                "IDENTITIES_NOT_LOADED", "API keys could not be read yet.", retry_after_s=1
            )
        return self.snapshot

    def close(self) -> None:
        """Ends all watching: the service is about to stop."""
        self._closed = True
        self._wake()

    async def wait_until_loaded(self) -> None:
        """Waits for the first snapshot."""
        while self.snapshot is None:
            await self._changed.wait()

    async def watch(self) -> AsyncIterator[Update]:
        """The snapshot now and at each change, heartbeats in between.

        A slow watcher skips what was replaced meanwhile: nothing is queued for it.

        Raises:
            Unavailable: the store could not be read yet, or the service is about to stop.
        """
        if self._closed:
            raise Unavailable("SERVICE_STOPPING", "This replica is about to stop.")
        held: Snapshot | None = None
        version = 0
        self.loaded()
        while not self._closed:
            # Before the yield: what changes during it must not be slept through.
            changed = self._changed
            current = self.loaded()
            if current is not held:
                held, version = current, self._next_version()
                yield Update(version, self._staleness_s(), current)
            else:
                yield Update(version, self._staleness_s(), None)
            with contextlib.suppress(TimeoutError):  # then a heartbeat is due
                async with asyncio.timeout(self._heartbeat_s):
                    await changed.wait()

    def _publish(self) -> None:
        if self._issued is None:
            return
        both = sorted(self._issued.keys() & self._declared.keys())
        if both:
            _log.warning(
                "declared_key_was_issued",
                key_ids=both,
                reason="these keys were issued by the API and are declared too; what was issued "
                "counts, so that a revoked key stays revoked",
            )
        snapshot = compose(self._issued, self._declared, self.tenants)
        if snapshot != self.snapshot:
            self.snapshot = snapshot
            self._wake()

    def _wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()

    def _next_version(self) -> int:
        self._version = max(self._version + 1, self._now_us())
        return self._version
