"""Usage events on their way to the ledger: at least once.

The stream is Redis'. An event is acknowledged when the stream has it; until then it waits here, in
order, while the stream is away. What a process still holds when it is killed was never
acknowledged; on SIGTERM it is flushed. Who must not lose an event waits until it is `written`.
"""

import asyncio
from collections import deque
from itertools import islice

import structlog
from redis.asyncio import Redis

from infermesh.analytics.v1 import events_pb2
from infermesh_common.redis import FAILURES
from infermesh_common.telemetry.metrics import Metrics

USAGE_STREAM = "-:usage-events"
"""Key of the stream. One for the mesh: the tenant stands in each event."""
EVENT_FIELD = b"event"
"""Field of a stream entry that holds the serialised `UsageEvent`."""

_log = structlog.get_logger(__name__)
_BATCH = 200
_RETRY_S = 0.5


class UsageEventPublisher:
    """Hands usage events to the stream.

    Args:
        redis: client of the stream's server.
        metrics: counts what was published, queued and dropped.
        max_queued: events held while the stream is away; beyond it the oldest are dropped and
            counted.
        max_stream_events: length of the stream above which Redis trims what is oldest.
        linger_ms: how long an event that nobody waits for waits for others to go with it.
    """

    def __init__(
        self,
        redis: Redis,
        metrics: Metrics,
        *,
        max_queued: int,
        max_stream_events: int,
        linger_ms: int,
    ) -> None:
        self._redis = redis
        self._queue: deque[bytes] = deque()
        self._max_queued = max_queued
        self._max_stream_events = max_stream_events
        self._linger_s = linger_ms / 1000
        self._wake = asyncio.Event()
        self._awaited = asyncio.Event()
        self._away = False
        self._last = self._acknowledged = 0
        self._progress = asyncio.Condition()
        self._idle = asyncio.Event()
        self._idle.set()
        self._published = metrics.counter("infermesh_events_published_total")
        self._dropped = metrics.counter("infermesh_events_dropped_total")
        self._queued = metrics.gauge("infermesh_events_queued")

    def publish(self, event: events_pb2.UsageEvent) -> None:
        """Queues `event`; never blocks and never fails."""
        if len(self._queue) >= self._max_queued:
            self._queue.popleft()
            self._acknowledged += 1
            self._dropped.inc()
            _log.error("usage_event_dropped", queued=self._max_queued)
        self._queue.append(event.SerializeToString())
        self._last += 1
        self._queued.set(len(self._queue))
        self._idle.clear()
        self._wake.set()

    async def written(self, timeout_s: float) -> bool:
        """Waits until the stream has everything published so far, at most `timeout_s` seconds; not
        at all while the stream is away. Whether it has.

        `run` must be running.
        """
        wanted = self._last
        if self._acknowledged >= wanted:
            return True
        if self._away:
            return False
        self._awaited.set()
        try:
            async with asyncio.timeout(timeout_s), self._progress:
                await self._progress.wait_for(lambda: self._acknowledged >= wanted or self._away)
        except TimeoutError:
            return False
        return self._acknowledged >= wanted

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._linger()
            while self._queue:
                sent = await self._send_batch()
                async with self._progress:
                    self._away = not sent
                    self._progress.notify_all()
                if not sent:
                    await asyncio.sleep(_RETRY_S)
            self._idle.set()

    async def _linger(self) -> None:
        """A round trip an event would cost more than the event; who waits is not kept waiting."""
        try:
            async with asyncio.timeout(self._linger_s):
                await self._awaited.wait()
        except TimeoutError:
            pass
        self._awaited.clear()

    async def flush(self, timeout_s: float) -> None:
        """Waits until everything queued is in the stream, at most `timeout_s` seconds.

        `run` must be running.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            _log.error("usage_events_not_flushed", count=len(self._queue))

    async def _send_batch(self) -> bool:
        batch = list(islice(self._queue, _BATCH))
        pipeline = self._redis.pipeline(transaction=False)
        for payload in batch:
            pipeline.xadd(
                USAGE_STREAM,
                {EVENT_FIELD: payload},
                maxlen=self._max_stream_events,
                approximate=True,
            )
        try:
            await pipeline.execute()
        except FAILURES as error:
            # Some of the batch may have arrived: the ledger is idempotent by event id.
            _log.warning("usage_stream_unavailable", error=type(error).__name__)
            return False
        for payload in batch:
            # publish() may have dropped the head meanwhile.
            if self._queue and self._queue[0] is payload:
                self._queue.popleft()
                self._acknowledged += 1
        self._published.inc(len(batch))
        self._queued.set(len(self._queue))
        return True
