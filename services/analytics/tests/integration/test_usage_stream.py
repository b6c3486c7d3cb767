"""The usage stream on a real Redis: delivery, take-over, dead letters, trimming."""

from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from infermesh_analytics.adapters.outbound.stream import (
    DEAD_STREAM,
    GROUP,
    ConsumerOptions,
    RedisUsageStream,
)
from infermesh_analytics.ports import StreamEntry, StreamUnavailable
from infermesh_analytics.testing import publish
from infermesh_common.events import EVENT_FIELD, USAGE_STREAM
from infermesh_common.redis import create_redis
from infermesh_common.testing.servers import RedisServer, eventually

MakeConsumer = Callable[..., RedisUsageStream]


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = create_redis(redis_server.settings(5000))
    yield client
    await client.aclose()


@pytest.fixture
def consumer(redis: Redis) -> MakeConsumer:
    def make(name: str = "a", *, batch: int = 100, claim_idle_ms: int = 1) -> RedisUsageStream:
        options = ConsumerOptions(
            name=name,
            batch_events=batch,
            block_ms=10,
            claim_idle_ms=claim_idle_ms,
            max_dead_events=1000,
        )
        return RedisUsageStream(redis, options)

    return make


async def ids_in(redis: Redis) -> list[str]:
    """Ids of the entries in the stream."""
    ids: list[str] = []
    for entry_id, _ in await redis.xrange(USAGE_STREAM) or []:
        assert isinstance(entry_id, bytes)
        ids.append(entry_id.decode())
    return ids


async def claimed(by: RedisUsageStream) -> int:
    """Entries that `by` took over once there was something to take over."""
    count = 0

    async def takes() -> bool:
        nonlocal count
        count += await by.claim_abandoned()
        return count > 0

    await eventually(takes)
    return count


async def test_the_group_begins_with_what_was_published_before_it(
    redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    ids = publish(redis_server, b"1", b"2")
    first, second = consumer("a"), consumer("b")
    await first.open()
    await second.open()
    assert [e.entry_id for e in (await first.read_new()).entries] == ids
    assert not (await second.read_new()).entries


async def test_unacknowledged_entries_are_delivered_to_the_same_consumer_again(
    redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    stream = consumer(batch=2)
    await stream.open()
    ids = publish(redis_server, b"1", b"2", b"3")
    await stream.read_new()
    await stream.read_new()
    await stream.acknowledge(ids[:1])
    again = consumer(batch=2)
    assert [e.entry_id for e in await again.read_own("0")] == ids[1:]
    assert [e.entry_id for e in await again.read_own(ids[1])] == ids[2:]
    await again.acknowledge([])
    await again.acknowledge(ids)
    assert not await again.read_own("0")


async def test_entries_of_a_dead_consumer_are_claimed_by_another_one_batch_at_a_time(
    redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    dead, alive = consumer("dead"), consumer("alive", batch=2)
    await dead.open()
    ids = publish(redis_server, *(b"%d" % n for n in range(5)))
    await dead.read_new()
    seen: list[str] = []
    while len(seen) < 5:
        # A claim may fetch a little more than a batch, never less than there is.
        assert await claimed(alive) >= 1
        entries = await alive.read_own("0")
        seen += [e.entry_id for e in entries]
        await alive.acknowledge([e.entry_id for e in entries])
    assert seen == ids
    assert not await alive.claim_abandoned()


async def test_entries_of_a_busy_consumer_are_left_to_it(
    redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    busy, other = consumer("busy"), consumer("other", claim_idle_ms=60_000)
    await busy.open()
    publish(redis_server, b"1")
    await busy.read_new()
    assert not await other.claim_abandoned()


async def test_an_entry_trimmed_while_pending_is_not_hidden(
    redis: Redis, redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    dead, alive = consumer("dead"), consumer("alive")
    await dead.open()
    ids = publish(redis_server, b"1", b"2")
    await dead.read_new()
    await redis.xdel(USAGE_STREAM, ids[0])
    assert await claimed(alive) == 2
    assert await alive.read_own("0") == [StreamEntry(ids[0], None), StreamEntry(ids[1], b"2")]


async def test_a_dead_letter_is_written_once_with_its_reason_whoever_tries(
    redis: Redis, redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    first, second = consumer("a"), consumer("b")
    await first.open()
    ids = publish(redis_server, b"bad", b"gone")
    bad, gone = (await first.read_new()).entries
    assert await first.bury(bad, "no event")
    assert not await second.bury(bad, "no event")
    assert await second.bury(StreamEntry(gone.entry_id, None), "trimmed")
    assert [fields for _, fields in await redis.xrange(DEAD_STREAM) or []] == [
        {b"reason": b"no event", b"entry_id": ids[0].encode(), EVENT_FIELD: b"bad"},
        {b"reason": b"trimmed", b"entry_id": ids[1].encode()},
    ]
    assert not await first.read_own("0")


async def test_trimming_keeps_everything_not_acknowledged(
    redis: Redis, redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    stream = consumer(batch=4)
    await stream.open()
    ids = publish(redis_server, *(b"%d" % n for n in range(8)))
    await stream.read_new()

    assert await stream.tidy() == 4
    assert await ids_in(redis) == ids
    await stream.acknowledge([ids[0], ids[2]])
    assert await stream.tidy() == 4
    # The second is pending, so the third stays too: trimming is by the lowest id.
    assert await ids_in(redis) == ids[1:]
    await stream.acknowledge(ids[:4])
    assert await stream.tidy() == 4
    # The last one read stays as the mark of how far reading has come.
    assert await ids_in(redis) == ids[3:]
    await stream.acknowledge([e.entry_id for e in (await stream.read_new()).entries])
    assert await stream.tidy() == 0
    assert await ids_in(redis) == ids[7:]


async def test_trimming_waits_for_every_other_group(
    redis: Redis, redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    stream = consumer()
    await stream.open()
    await redis.xgroup_create(USAGE_STREAM, "panels", id="0")
    ids = publish(redis_server, b"1", b"2", b"3")
    await stream.read_new()
    await stream.acknowledge(ids)
    await stream.tidy()
    assert await redis.xlen(USAGE_STREAM) == 3
    await redis.xreadgroup("panels", "p", {USAGE_STREAM: ">"}, count=2)
    await stream.tidy()
    assert await redis.xlen(USAGE_STREAM) == 3
    await redis.xack(USAGE_STREAM, "panels", ids[0])
    await stream.tidy()
    assert await redis.xlen(USAGE_STREAM) == 2


async def test_ids_are_compared_as_numbers_of_64_bits(redis: Redis, consumer: MakeConsumer) -> None:
    stream = consumer()
    await stream.open()
    ids = ["9-0", "10-9", "10-10", "9007199254740992-0", "9007199254740993-0", "9007199254740993-1"]
    for entry_id in ids:
        await redis.xadd(USAGE_STREAM, {EVENT_FIELD: b"x"}, id=entry_id)
    await redis.xgroup_create(USAGE_STREAM, "behind", id="0")
    await stream.acknowledge([e.entry_id for e in (await stream.read_new()).entries])
    for place, entry_id in enumerate(ids):
        # Behind ours, which stands at the last id, but for the last round.
        await redis.xgroup_setid(USAGE_STREAM, "behind", entry_id)
        await stream.tidy()
        assert await ids_in(redis) == ids[place:]


async def test_the_lag_is_what_nobody_has_read_also_when_it_is_long(
    redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    stream = consumer(batch=10)
    await stream.open()
    assert await stream.tidy() == 0
    publish(redis_server, *(b"x" for _ in range(2500)))
    assert await stream.tidy() == 2500
    entries = (await stream.read_new()).entries
    # Under way: read, and not acknowledged yet.
    assert await stream.tidy() == 2490
    await stream.acknowledge([e.entry_id for e in entries])
    assert await stream.tidy() == 2490


async def test_a_stream_trimmed_past_what_was_read_is_noticed(
    redis: Redis, redis_server: RedisServer, consumer: MakeConsumer
) -> None:
    stream = consumer(batch=2)
    await stream.open()
    assert not (await stream.read_new()).overrun
    publish(redis_server, *(b"%d" % n for n in range(4)))
    batch = await stream.read_new()
    await stream.acknowledge([e.entry_id for e in batch.entries])
    await stream.tidy()
    assert not batch.overrun
    # As a publisher does at the stream's greatest length: two unread entries go.
    ids = publish(redis_server, b"4", b"5")
    await redis.xtrim(USAGE_STREAM, minid=ids[0], approximate=False)
    batch = await stream.read_new()
    assert batch.overrun
    assert [e.entry_id for e in batch.entries] == ids
    assert not (await stream.read_new()).overrun


async def test_an_absent_server_or_group_is_one_kind_of_failure(
    redis: Redis, redis_server: RedisServer, consumer: MakeConsumer, own_redis: RedisServer
) -> None:
    stream = consumer()
    await stream.open()
    await redis.xgroup_destroy(USAGE_STREAM, GROUP)
    for call in (stream.read_new, stream.tidy, stream.claim_abandoned):
        with pytest.raises(StreamUnavailable):
            await call()
    await stream.open()
    assert not (await stream.read_new()).entries
    own_redis.stop()
    client = create_redis(own_redis.settings())
    options = ConsumerOptions("a", 10, 10, 10, 10)
    with pytest.raises(StreamUnavailable):
        await RedisUsageStream(client, options).open()
    await client.aclose()
