"""Keeps the lease of the near cache."""

import asyncio
import time

import structlog

from infermesh_common.errors import InfermeshError
from infermesh_router.application.near_cache import Copies
from infermesh_router.ports import EntryChangeFeed

_log = structlog.get_logger(__name__)
# Two polls may be lost before the lease is.
_POLLS_A_LEASE = 3
_RETRY_S = 0.3
_SHORTEST_PAUSE_S = 0.05


class NearCacheLease:
    """Asks the cache service again and again what has changed.

    Args:
        feed: the cache service.
        copies: what depends on it; its clock is `time.monotonic`.
    """

    def __init__(self, feed: EntryChangeFeed, copies: Copies) -> None:
        self._feed = feed
        self._copies = copies

    async def run(self) -> None:
        """Polls until cancelled."""
        cursor, failing = "", False
        while True:
            asked_at_s = time.monotonic()
            try:
                changes = await self._feed.poll(cursor)
            except InfermeshError as error:
                if not failing:
                    _log.warning("near_cache_without_lease", reason=error.reason)
                failing, pause_s = True, _RETRY_S
            else:
                self._copies.renew(changes, asked_at_s)
                cursor, failing = changes.cursor, False
                pause_s = max(_SHORTEST_PAUSE_S, changes.lease_s / _POLLS_A_LEASE)
            await asyncio.sleep(pause_s)
