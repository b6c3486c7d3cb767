"""Which entries were used, written in batches so that a hit is a mere read."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from infermesh_cache.domain.keys import Slot
from infermesh_common.errors import InfermeshError

_log = structlog.get_logger(__name__)
# An argument each; Lua takes some thousands.
_BATCH = 1_000


class Uses:
    """Uses that the store has not been told of. What a process still holds when it ends is lost:
    an entry may then be evicted earlier than it would have been.

    Args:
        write: takes the prefix of a tenant's keys and members, least recently used first.
        interval_ms: time between two writes, in milliseconds.
    """

    def __init__(
        self, write: Callable[[str, Sequence[str]], Awaitable[None]], *, interval_ms: int
    ) -> None:
        self._write = write
        self._interval_s = interval_ms / 1000
        self._used: dict[str, dict[str, None]] = {}

    def note(self, slot: Slot) -> None:
        """The entry of `slot` was used just now."""
        members = self._used.setdefault(slot.prefix, {})
        members.pop(slot.member, None)
        members[slot.member] = None

    async def write_of(self, prefix: str) -> None:
        """Writes what is known of one tenant; errors as those of `write`."""
        members = list(self._used.pop(prefix, ()))
        for start in range(0, len(members), _BATCH):
            await self._write(prefix, members[start : start + _BATCH])

    async def run(self) -> None:
        """Writes until cancelled. What fails is forgotten: it orders evictions and no more."""
        while True:
            await asyncio.sleep(self._interval_s)
            for prefix in list(self._used):
                try:
                    await self.write_of(prefix)
                except InfermeshError as error:
                    _log.info("uses_not_written", reason=error.reason)
