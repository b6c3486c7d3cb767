"""What may go wrong around the ledger, and what holds nevertheless."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest

from infermesh.analytics.v1 import events_pb2, ledger_pb2
from infermesh_analytics.adapters.outbound.stream import DEAD_STREAM, GROUP
from infermesh_analytics.testing import (
    LedgerDatabase,
    RunningLedger,
    ledger_settings,
    make_event,
    publish,
    run_ledger,
)
from infermesh_common.events import EVENT_FIELD, USAGE_STREAM
from infermesh_common.identity.model import Role
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.servers import RedisServer, eventually

COUNTED = "infermesh_ledger_events_total"


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[LedgerDatabase]:
    """For faults that have nothing to do with the kind of database."""
    yield LedgerDatabase.on_sqlite(tmp_path)


def pending(redis: RedisServer) -> int:
    """Entries delivered and not acknowledged."""
    with redis.client() as client:
        return int(client.xpending(USAGE_STREAM, GROUP)["pending"])


def not_ready(ledger: RunningLedger) -> Callable[[], Awaitable[bool]]:
    async def says_so() -> bool:
        return not await ledger.is_ready()

    return says_so


def some(count: int) -> list[events_pb2.UsageEvent]:
    return [make_event(cost="0.1") for _ in range(count)]


async def test_no_event_is_lost_or_doubled_when_the_database_goes_away(
    fragile_database: LedgerDatabase,
    redis_server: RedisServer,
    governance: FakeGovernance,
    tmp_path: Path,
) -> None:
    database = fragile_database
    settings = ledger_settings(tmp_path, database, redis_server, batch_events=3)
    async with run_ledger(settings, governance.directory) as ledger:
        publish(redis_server, *some(4))
        # Counted here, not in the database: a commit whose confirmation the outage cuts off
        # would rightly be a duplicate later.
        await eventually(lambda: ledger.sample(COUNTED, result="stored") == 4)
        await eventually(lambda: pending(redis_server) == 0)
        with database.outage():
            publish(redis_server, *some(10))
            await eventually(lambda: pending(redis_server) > 0)
            # It keeps asking and acknowledges nothing, so nothing more is read either.
            assert ledger.sample(COUNTED, result="stored") == 4
            assert pending(redis_server) <= 3
            await eventually(lambda: ledger.sample("infermesh_ledger_lag_events") >= 7)
        await eventually(lambda: database.count_events() == 14)
        await eventually(lambda: pending(redis_server) == 0)
        assert ledger.sample(COUNTED, result="stored") == 14
        assert ledger.sample(COUNTED, result="dead") == 0
        await eventually(lambda: ledger.sample("infermesh_ledger_lag_events") == 0)


async def test_the_service_waits_for_a_database_that_is_not_there_at_boot(
    redis_server: RedisServer, governance: FakeGovernance, tmp_path: Path
) -> None:
    folder = tmp_path / "not-yet"
    folder.write_text("in the way of the folder of the database")
    database = LedgerDatabase.on_sqlite(folder)
    settings = ledger_settings(tmp_path, database, redis_server)
    publish(redis_server, *some(2))
    async with run_ledger(settings, governance.directory) as ledger:
        operator = bearer(governance.issue("", Role.OPERATOR))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ledger.stub.QueryUsage(ledger_pb2.QueryUsageRequest(), metadata=operator)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not await ledger.is_ready()
        folder.unlink()
        folder.mkdir()
        await eventually(lambda: database.count_events() == 2)
        await eventually(ledger.is_ready)


async def test_no_event_is_lost_or_doubled_when_redis_pauses(
    sqlite: LedgerDatabase, own_redis: RedisServer, governance: FakeGovernance, tmp_path: Path
) -> None:
    settings = ledger_settings(tmp_path, sqlite, own_redis, batch_events=5)
    async with run_ledger(settings, governance.directory) as ledger:
        await eventually(ledger.is_ready)
        publish(own_redis, *some(20))
        await eventually(lambda: sqlite.count_events() > 0)
        own_redis.pause()
        await eventually(not_ready(ledger))
        own_redis.resume()
        publish(own_redis, *some(7))
        await eventually(lambda: sqlite.count_events() == 27)
        await eventually(lambda: pending(own_redis) == 0)
        await eventually(ledger.is_ready)
        assert ledger.sample(COUNTED, result="stored") == 27


async def test_no_event_is_lost_or_doubled_when_redis_restarts(
    sqlite: LedgerDatabase, own_redis: RedisServer, governance: FakeGovernance, tmp_path: Path
) -> None:
    settings = ledger_settings(tmp_path, sqlite, own_redis, batch_events=5)
    async with run_ledger(settings, governance.directory) as ledger:
        await eventually(ledger.is_ready)
        publish(own_redis, *some(20))
        own_redis.stop()
        await eventually(not_ready(ledger))
        own_redis.start()
        publish(own_redis, *some(5))
        await eventually(lambda: sqlite.count_events() == 25)
        await eventually(lambda: pending(own_redis) == 0)


async def test_a_redis_that_comes_back_empty_is_consumed_again(
    sqlite: LedgerDatabase, redis_server: RedisServer, governance: FakeGovernance, tmp_path: Path
) -> None:
    async with run_ledger(ledger_settings(tmp_path, sqlite, redis_server), governance.directory):
        publish(redis_server, *some(2))
        await eventually(lambda: sqlite.count_events() == 2)
        with redis_server.client() as client:
            client.flushall()
        publish(redis_server, *some(3))
        await eventually(lambda: sqlite.count_events() == 5)


async def test_poison_is_put_aside_with_its_reason_and_blocks_nothing(
    database: LedgerDatabase, redis_server: RedisServer, governance: FakeGovernance, tmp_path: Path
) -> None:
    settings = ledger_settings(tmp_path, database, redis_server)
    async with run_ledger(settings, governance.directory) as ledger:
        await eventually(database.is_prepared)
        database.refuse_model("refused")
        refused = make_event(model="refused").SerializeToString()
        with redis_server.client() as client:
            client.xadd(USAGE_STREAM, {"other": "field"})
        publish(redis_server, *some(3), b"\xff", *some(2), refused, *some(4), make_event(cost="x"))
        await eventually(lambda: ledger.sample(COUNTED, result="dead") == 4)
        await eventually(lambda: database.count_events() == 9)
        await eventually(lambda: pending(redis_server) == 0)
    with redis_server.client() as client:
        letters = [fields for _, fields in client.xrange(DEAD_STREAM) or []]
    reasons = sorted(fields[b"reason"].decode() for fields in letters if fields)
    assert len(reasons) == 4
    assert reasons[0] == "cost is not an amount in US dollars"
    assert reasons[1] == "not a UsageEvent"
    assert reasons[2].startswith("refused by the database: ")
    assert refused in [fields.get(EVENT_FIELD) for fields in letters if fields]


async def test_events_that_a_dead_replica_held_are_counted_by_a_living_one(
    sqlite: LedgerDatabase, redis_server: RedisServer, governance: FakeGovernance, tmp_path: Path
) -> None:
    with redis_server.client() as client:
        publish(redis_server, *some(6))
        client.xgroup_create(USAGE_STREAM, GROUP, id="0")
        client.xreadgroup(GROUP, "dead", {USAGE_STREAM: ">"}, count=4)
    settings = ledger_settings(tmp_path, sqlite, redis_server, claim_idle_ms=100)
    async with run_ledger(settings, governance.directory):
        await eventually(lambda: sqlite.count_events() == 6)
        await eventually(lambda: pending(redis_server) == 0)


async def test_replicas_share_the_stream_and_count_every_event_once(
    database: LedgerDatabase, redis_server: RedisServer, governance: FakeGovernance, tmp_path: Path
) -> None:
    replicas = [tmp_path / name for name in "ab"]
    for folder in replicas:
        folder.mkdir()
    first, second = (
        ledger_settings(folder, database, redis_server, name=folder.name, batch_events=5)
        for folder in replicas
    )
    async with run_ledger(first, governance.directory) as a:
        async with run_ledger(second, governance.directory) as b:
            events = some(200)
            publish(redis_server, *events)
            publish(redis_server, *events[:20])

            def handled() -> float:
                kinds = ("stored", "duplicate")
                return sum(r.sample(COUNTED, result=kind) for r in (a, b) for kind in kinds)

            await eventually(lambda: handled() == 220)
            assert database.count_events() == 200
            assert sum(r.sample(COUNTED, result="stored") for r in (a, b)) == 200
