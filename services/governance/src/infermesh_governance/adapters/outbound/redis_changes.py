"""Announcements of changes over Redis pub/sub."""

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis

from infermesh_common.redis import FAILURES
from infermesh_governance.adapters.outbound.redis_keys import CHANNEL

_log = structlog.get_logger(__name__)


class RedisChangeFeed:
    """`ChangeFeed` on Redis.

    A connection that died without a word is noticed by nobody here: the poll is what bounds how
    late a change is seen, this only makes it early.

    Args:
        redis: client of the server.
        on_change: called when something may have changed.
        retry_s: time between two attempts to subscribe.
    """

    def __init__(self, redis: Redis, on_change: Callable[[], None], *, retry_s: float) -> None:
        self._redis = redis
        self._on_change = on_change
        self._retry_s = retry_s

    async def run(self) -> None:
        """See `ChangeFeed.run`."""
        while True:
            try:
                await self._follow()
            except FAILURES as error:
                _log.info("change_feed_interrupted", error=type(error).__name__)
            await asyncio.sleep(self._retry_s)

    async def _follow(self) -> None:
        async with self._redis.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            while True:
                # The first message confirms the subscription: what changed before it was
                # announced to nobody here, so it counts as well.
                await subscription.get_message(timeout=None)
                self._on_change()
