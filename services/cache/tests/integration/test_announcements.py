"""The subscription: hears what ends, and notices when it hears nothing any more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infermesh_cache.adapters.outbound.flight_announcements import CHANNEL, FlightAnnouncements
from infermesh_common.background import end_tasks
from infermesh_common.redis import create_redis
from infermesh_common.testing.servers import RedisServer, eventually


class Ears:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.missed = 0

    def flight_ended(self, flight: str) -> None:
        self.heard.append(flight)

    def announcements_missed(self) -> None:
        self.missed += 1


@pytest.fixture
async def ears(own_redis: RedisServer) -> AsyncIterator[Ears]:
    redis = create_redis(own_redis.settings())
    ears = Ears()
    line = FlightAnnouncements(redis, ears, ping_s=0.05, silence_s=1.0)
    task = asyncio.create_task(line.run())
    yield ears
    await end_tasks([task])
    await redis.aclose()


async def heard(ears: Ears, redis: RedisServer, flight: str) -> None:
    with redis.client() as client:

        def published_and_heard() -> bool:
            client.publish(CHANNEL, flight)
            return flight in ears.heard

        await eventually(published_and_heard)


async def test_what_is_announced_is_heard(ears: Ears, own_redis: RedisServer) -> None:
    await heard(ears, own_redis, "one")
    # What ended before the subscription stood was not heard.
    assert ears.missed >= 1


async def test_a_line_to_a_paused_redis_is_taken_for_dead_and_made_anew(
    ears: Ears, own_redis: RedisServer
) -> None:
    await heard(ears, own_redis, "before")
    missed = ears.missed
    own_redis.pause()
    await eventually(lambda: ears.missed > missed)
    own_redis.resume()
    await heard(ears, own_redis, "after")
