"""No usage event is lost while there is room for it, whatever happens to the stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from infermesh.analytics.v1 import events_pb2
from infermesh_common.events import EVENT_FIELD, USAGE_STREAM, UsageEventPublisher
from infermesh_common.redis import create_redis
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import RedisServer, eventually

PUBLISHED = "infermesh_events_published_total"
DROPPED = "infermesh_events_dropped_total"
QUEUED = "infermesh_events_queued"


def event(number: int) -> events_pb2.UsageEvent:
    return events_pb2.UsageEvent(event_id=f"event-{number:05}")


def stream_of(server: RedisServer) -> list[str]:
    """Ids of the events in the stream, in its order."""
    with server.client() as client:
        entries = client.xrange(USAGE_STREAM)
    assert isinstance(entries, list)
    return [events_pb2.UsageEvent.FromString(fields[EVENT_FIELD]).event_id for _, fields in entries]


def without_repeats(ids: list[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def ids(numbers: range) -> list[str]:
    return [event(number).event_id for number in numbers]


def make(
    redis: Redis,
    metrics: Metrics,
    *,
    max_queued: int = 10_000,
    max_stream: int = 1_000_000,
    linger_ms: int = 1,
) -> UsageEventPublisher:
    return UsageEventPublisher(
        redis, metrics, max_queued=max_queued, max_stream_events=max_stream, linger_ms=linger_ms
    )


@asynccontextmanager
async def running(
    server: RedisServer, metrics: Metrics, *, max_queued: int = 10_000, linger_ms: int = 1
) -> AsyncIterator[UsageEventPublisher]:
    redis = create_redis(server.settings())
    publisher = make(redis, metrics, max_queued=max_queued, linger_ms=linger_ms)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
        assert not task.done(), "the publisher has ended"
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)
        await redis.aclose()


async def test_events_arrive_in_order_each_once(
    redis_server: RedisServer, metrics: Metrics
) -> None:
    async with running(redis_server, metrics) as publisher:
        for number in range(3):
            publisher.publish(event(number))
        await eventually(lambda: metrics.sample(PUBLISHED) == 3)
        for number in range(3, 1000):  # several batches
            publisher.publish(event(number))
        await publisher.flush(60)
    assert stream_of(redis_server) == ids(range(1000))
    assert metrics.sample(PUBLISHED) == 1000
    assert metrics.sample(QUEUED) == metrics.sample(DROPPED) == 0


async def test_what_is_said_to_be_written_is_in_the_stream_and_nobody_waits_for_others(
    redis_server: RedisServer, metrics: Metrics
) -> None:
    # Longer than the test may take: whoever waits for an event is not kept waiting.
    async with running(redis_server, metrics, linger_ms=3_600_000) as publisher:
        assert await publisher.written(60)
        for number in range(500):
            publisher.publish(event(number))
        assert await publisher.written(60)
        assert stream_of(redis_server) == ids(range(500))

        async def one(number: int) -> None:
            publisher.publish(event(number))
            assert await publisher.written(60)
            assert event(number).event_id in stream_of(redis_server)

        await asyncio.gather(*(one(number) for number in range(500, 520)))


async def test_nobody_waits_for_a_stream_that_is_away(
    own_redis: RedisServer, metrics: Metrics
) -> None:
    own_redis.stop()
    async with running(own_redis, metrics) as publisher:
        publisher.publish(event(0))
        assert not await publisher.written(60)
        publisher.publish(event(1))
        assert not await publisher.written(3600)
        own_redis.start()
        await publisher.flush(60)
        assert await publisher.written(0)


async def test_nothing_is_lost_while_redis_is_stopped(
    own_redis: RedisServer, metrics: Metrics
) -> None:
    async with running(own_redis, metrics) as publisher:
        publisher.publish(event(0))
        await publisher.flush(60)
        own_redis.stop()
        for number in range(1, 700):
            publisher.publish(event(number))
        await eventually(lambda: metrics.sample(QUEUED) == 699)
        own_redis.start()
        await publisher.flush(60)
    assert without_repeats(stream_of(own_redis)) == ids(range(700))
    assert metrics.sample(DROPPED) == 0 and metrics.sample(QUEUED) == 0


async def test_nothing_is_lost_while_redis_is_paused(
    own_redis: RedisServer, metrics: Metrics
) -> None:
    async with running(own_redis, metrics) as publisher:
        for round_number in range(3):
            own_redis.pause()
            first = round_number * 300
            for number in range(first, first + 300):
                publisher.publish(event(number))
            await publisher.flush(0.7)  # some attempts fail meanwhile
            own_redis.resume()
            await publisher.flush(60)
    # What was sent into the pause may arrive after it, and again: at least once.
    arrived = stream_of(own_redis)
    assert set(arrived) == set(ids(range(900)))
    assert metrics.sample(PUBLISHED) == 900 and metrics.sample(DROPPED) == 0


async def test_beyond_its_bound_the_oldest_go_and_are_counted(
    own_redis: RedisServer, metrics: Metrics
) -> None:
    own_redis.stop()
    async with running(own_redis, metrics, max_queued=250) as publisher:
        for number in range(400):
            publisher.publish(event(number))
        assert metrics.sample(QUEUED) == 250 and metrics.sample(DROPPED) == 150
        own_redis.start()
        await publisher.flush(60)
    assert without_repeats(stream_of(own_redis)) == ids(range(150, 400))


async def test_what_overflows_while_a_batch_is_under_way_is_not_sent_twice_or_mixed_up(
    own_redis: RedisServer, metrics: Metrics
) -> None:
    async with running(own_redis, metrics, max_queued=5) as publisher:
        own_redis.pause()
        for number in range(5):
            publisher.publish(event(number))
        await asyncio.sleep(0)  # the batch is on its way
        for number in range(5, 12):
            publisher.publish(event(number))
        own_redis.resume()
        await publisher.flush(60)
        assert metrics.sample(QUEUED) == 0
    arrived = without_repeats(stream_of(own_redis))
    assert arrived[-5:] == ids(range(7, 12))
    assert arrived == sorted(arrived)


async def test_flushing_gives_up_after_its_time_and_keeps_the_events(
    own_redis: RedisServer, metrics: Metrics
) -> None:
    own_redis.stop()
    async with running(own_redis, metrics) as publisher:
        publisher.publish(event(0))
        await publisher.flush(0.05)
        assert metrics.sample(QUEUED) == 1
        own_redis.start()
        await publisher.flush(60)
    assert stream_of(own_redis) == ids(range(1))


async def test_flushing_nothing_is_immediate(redis_server: RedisServer, metrics: Metrics) -> None:
    redis = create_redis(redis_server.settings())
    await make(redis, metrics).flush(0)
    await redis.aclose()


async def test_publishing_never_waits_and_never_fails(metrics: Metrics) -> None:
    # Nothing runs, nothing listens: the request that publishes must not notice.
    redis = Redis(host="127.0.0.1", port=1)
    publisher = make(redis, metrics, max_queued=3)
    for number in range(10):
        publisher.publish(event(number))
    assert metrics.sample(QUEUED) == 3 and metrics.sample(DROPPED) == 7
    await redis.aclose()


async def test_the_stream_does_not_grow_without_bound(
    redis_server: RedisServer, metrics: Metrics
) -> None:
    redis = create_redis(redis_server.settings())
    publisher = make(redis, metrics, max_stream=100)
    task = asyncio.create_task(publisher.run())
    for number in range(2000):
        publisher.publish(event(number))
    await publisher.flush(60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await redis.aclose()
    kept = stream_of(redis_server)
    # Trimmed by whole nodes of the stream, of 100 entries each.
    assert 100 <= len(kept) <= 300 and kept == ids(range(2000 - len(kept), 2000))


async def test_a_stream_that_is_no_stream_is_waited_for_not_given_up(
    redis_server: RedisServer, metrics: Metrics
) -> None:
    with redis_server.client() as client:
        client.set(USAGE_STREAM, "in the way")
        async with running(redis_server, metrics) as publisher:
            publisher.publish(event(0))
            await publisher.flush(0.3)
            assert metrics.sample(QUEUED) == 1
            client.delete(USAGE_STREAM)
            await publisher.flush(60)
    assert stream_of(redis_server) == ids(range(1))
