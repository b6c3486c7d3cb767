"""The usage stream in Redis, read through a consumer group.

Written for Redis 6.2, the oldest supported. Scripts stand in `lua/`.
"""

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TypeVar, cast

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import ResponseError

from infermesh_analytics.ports import StreamBatch, StreamEntry, StreamUnavailable
from infermesh_common.events import EVENT_FIELD, USAGE_STREAM
from infermesh_common.redis import FAILURES

GROUP = "ledger"
"""Name of the consumer group."""
DEAD_STREAM = f"{USAGE_STREAM}-dead"
"""Key of the dead-letter stream: entries with the fields event, reason and entry_id."""
_COUNTED_ONE_BY_ONE = 1000

T = TypeVar("T")
_Reply = Sequence[tuple[bytes, Sequence[tuple[bytes, dict[bytes, bytes]]]]]


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """How one consumer reads.

    Attributes:
        name: of the consumer in the group.
        batch_events: most entries at once.
        block_ms: longest wait for a new entry; the client's time-out must be longer.
        claim_idle_ms: what another consumer holds for longer is taken over.
        max_dead_events: length of the dead-letter stream.
    """

    name: str
    batch_events: int
    block_ms: int
    claim_idle_ms: int
    max_dead_events: int


class RedisUsageStream:
    """One consumer of the group; see `ports.UsageStream`.

    Args:
        redis: its client; a connection of it is held while `read_new` waits.
        options: how to read.
    """

    def __init__(self, redis: Redis, options: ConsumerOptions) -> None:
        self._redis = redis
        self._options = options
        self._claim = _script(redis, "claim")
        self._bury = _script(redis, "bury")
        self._tidy = _script(redis, "tidy")

    async def open(self) -> None:
        """Makes the stream and the group where they are missing."""
        try:
            await _guarded(self._redis.xgroup_create(USAGE_STREAM, GROUP, id="0", mkstream=True))
        except StreamUnavailable as error:
            if not _group_exists(error.__cause__):
                raise

    async def read_own(self, after: str) -> Sequence[StreamEntry]:
        """Pending entries of this consumer."""
        reply = await _guarded(
            self._redis.xreadgroup(
                GROUP,
                self._options.name,
                {USAGE_STREAM: after},
                count=self._options.batch_events,
            )
        )
        return _entries(cast(_Reply, reply))

    async def claim_abandoned(self) -> int:
        """Makes entries that are pending for too long this consumer's own."""
        options = self._options
        arguments: list[str | int] = [
            GROUP,
            options.name,
            options.claim_idle_ms,
            options.batch_events,
        ]
        return int(await _guarded(self._claim([USAGE_STREAM], arguments)))

    async def read_new(self) -> StreamBatch:
        """New entries, or none after `block_ms`."""
        pipeline = self._redis.pipeline(transaction=False)
        # Looked at in the same breath: afterwards the group stands behind the gap.
        pipeline.xinfo_stream(USAGE_STREAM)
        pipeline.xinfo_groups(USAGE_STREAM)
        pipeline.xreadgroup(
            GROUP,
            self._options.name,
            {USAGE_STREAM: ">"},
            count=self._options.batch_events,
            block=self._options.block_ms,
        )
        stream, groups, reply = await _guarded(pipeline.execute())
        entries = _entries(cast(_Reply, reply))
        return StreamBatch(
            entries,
            overrun=_is_overrun(stream["first-entry"], groups),
            full=len(entries) >= self._options.batch_events,
        )

    async def acknowledge(self, entry_ids: Collection[str]) -> None:
        """XACK."""
        if entry_ids:
            await _guarded(self._redis.xack(USAGE_STREAM, GROUP, *entry_ids))

    async def bury(self, entry: StreamEntry, reason: str) -> bool:
        """XACK and, when that counted, XADD to the dead-letter stream."""
        fields: list[bytes | str] = ["reason", reason, "entry_id", entry.entry_id]
        if entry.payload is not None:
            fields += [EVENT_FIELD, entry.payload]
        arguments = [GROUP, entry.entry_id, self._options.max_dead_events, *fields]
        return bool(await _guarded(self._bury([USAGE_STREAM, DEAD_STREAM], arguments)))

    async def tidy(self) -> int:
        """XTRIM by the lowest id that any group still needs; returns the group's lag."""
        return int(await _guarded(self._tidy([USAGE_STREAM], [GROUP, _COUNTED_ONE_BY_ONE])))


def _script(redis: Redis, name: str) -> AsyncScript:
    folder = resources.files("infermesh_analytics.adapters.outbound").joinpath("lua")
    return redis.register_script(folder.joinpath(f"{name}.lua").read_text("utf-8"))


async def _guarded(call: Awaitable[T]) -> T:
    try:
        result = await call
    except FAILURES as error:
        raise StreamUnavailable(type(error).__name__) from error
    if (task := asyncio.current_task()) is not None and task.cancelling():
        # The client's asyncio.wait_for swallows, in Python 3.11, a cancellation that meets the
        # end of a write; what was read is pending and comes again.
        raise asyncio.CancelledError
    return result


def _group_exists(error: BaseException | None) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("BUSYGROUP")


def _entries(reply: _Reply) -> list[StreamEntry]:
    return [
        StreamEntry(entry_id.decode(), content.get(EVENT_FIELD))
        for _, entries in reply
        for entry_id, content in entries
    ]


def _is_overrun(
    first_entry: tuple[bytes, object] | None, groups: Sequence[dict[str, bytes]]
) -> bool:
    """Whether the last entry that the group was given is missing: `tidy` never drops that one."""
    for group in groups:
        if group["name"] == GROUP.encode():
            last_read = _order(group["last-delivered-id"])
            return first_entry is not None and _order(first_entry[0]) > last_read > (0, 0)
    return False


def _order(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)
