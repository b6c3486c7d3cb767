"""Hears when flights end, over one subscription for the whole process."""

import asyncio
import time

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from infermesh_cache.ports import FlightListener
from infermesh_common.redis import FAILURES

CHANNEL = "-:cache:flights"
"""Channel of the mesh; a message is the key of the lease that ended. The scripts publish to it."""

_log = structlog.get_logger(__name__)
_RETRY_S = 0.2


class FlightAnnouncements:
    """Hands announcements to a listener for ever; subscribes again whenever the line breaks.

    Args:
        redis: the client; one of its connections is held.
        listener: who wants to know.
        ping_s: a silent line is asked for a sign of life this often.
        silence_s: one silent for longer is taken for dead, as that to a Redis that hangs.
    """

    def __init__(
        self,
        redis: Redis,
        listener: FlightListener,
        *,
        ping_s: float = 1.0,
        silence_s: float = 3.0,
    ) -> None:
        self._redis = redis
        self._listener = listener
        self._ping_s = ping_s
        self._silence_s = silence_s

    async def run(self) -> None:
        """Listens until cancelled."""
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await self._listen(pubsub)
            except FAILURES as error:
                _log.warning("flight_announcements_interrupted", error=type(error).__name__)
            # Whoever waits looks now: if Redis is down, there is nothing to wait for.
            self._listener.announcements_missed()
            await asyncio.sleep(_RETRY_S)

    async def _listen(self, pubsub: PubSub) -> None:
        await pubsub.subscribe(CHANNEL)
        heard_at = time.monotonic()
        while True:
            message = await pubsub.get_message(timeout=self._ping_s)
            now = time.monotonic()
            if message is None:
                if now - heard_at > self._silence_s:
                    raise RedisConnectionError("no answer to a ping")
                await pubsub.ping()
                continue
            heard_at = now
            if message["type"] == "message":
                self._listener.flight_ended(message["data"].decode())
            elif message["type"] == "subscribe":
                # Flights may have ended while nobody listened.
                self._listener.announcements_missed()
