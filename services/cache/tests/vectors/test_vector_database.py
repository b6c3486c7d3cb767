"""Index and store together, the store being Milvus Lite's real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infermesh_cache.adapters.outbound.vectors.hot_index import HotIndex
from infermesh_cache.adapters.outbound.vectors.milvus import MilvusVectors
from infermesh_cache.adapters.outbound.vectors.opening import open_vector_database
from infermesh_cache.application.vector_database import Pace, TieredVectorDatabase
from infermesh_cache.semantic_ports import EmbeddingSpace, Removal, VectorRecord
from infermesh_cache.settings import CacheSettings
from infermesh_common.errors import DeadlineExceeded, Unavailable
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.milvus import MilvusLiteServer
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.settings import settings_for

if TYPE_CHECKING:
    from conftest import Clock, Maker

NewStore = Callable[..., Awaitable[MilvusVectors]]
NewHot = Callable[..., HotIndex]
NewDatabase = Callable[..., TieredVectorDatabase]
Ids = Callable[..., list[str]]
EVERYTHING = Removal(everything=True)
WITHIN_S = 90.0
pytestmark = pytest.mark.timeout(300)


@asynccontextmanager
async def running(database: TieredVectorDatabase) -> AsyncIterator[TieredVectorDatabase]:
    """With its background work."""
    task = asyncio.create_task(database.run())
    try:
        yield database
    finally:
        task.cancel()
        await asyncio.wait([task])


async def found(
    database: TieredVectorDatabase, record: VectorRecord, limit: int = 1
) -> list[VectorRecord]:
    near = await database.nearest("acme", record.context, [record.scope], record.vector, limit)
    return [item.record for item in near]


async def has(database: TieredVectorDatabase, record: VectorRecord) -> bool:
    return record.entry_id in [other.entry_id for other in await found(database, record)]


async def lies_in(store: MilvusVectors, record: VectorRecord) -> bool:
    try:
        return await store.get("acme", record.entry_id) is not None
    except (Unavailable, DeadlineExceeded):
        return False


async def test_without_a_store_the_index_is_all_there_is(
    hot: HotIndex, new_database: NewDatabase, make: "Maker", metrics: Metrics
) -> None:
    database = new_database(hot)
    record = make.record(1)
    async with running(database):
        await database.add("acme", record)
        assert await has(database, record)
        assert await database.set_answer("acme", record.entry_id, "beef")
        assert not await database.set_answer("acme", "00", "beef")
        assert [other.answer for other in await found(database, record)] == ["beef"]
        assert await database.count("acme") == 1
        assert await database.remove("acme", EVERYTHING, dry_run=True) == 1
        assert await database.remove("acme", EVERYTHING) == 1
        assert await database.count("acme") == 0
    await database.close()
    assert metrics.sample("infermesh_vector_lookups_total", {"by": "index"}) == 2


async def test_records_outlive_the_process(
    shared_milvus: MilvusLiteServer,
    new_store: NewStore,
    new_hot: NewHot,
    new_database: NewDatabase,
    make: "Maker",
) -> None:
    store = await new_store(shared_milvus)
    records = [make.record(n, tags=(f"t{n % 2}",)) for n in range(40)]
    async with running(new_database(new_hot(), store)) as first:
        for record in records:
            await first.add("acme", record)
        assert await first.set_answer("acme", records[0].entry_id, "beef")
        assert await first.remove("acme", Removal(tag="t1")) == 20
        await first.close()
    async with running(new_database(new_hot(), store)) as second:
        second.follow("acme")
        await eventually(lambda: second.is_complete("acme"), within_s=WITHIN_S)
        assert await second.count("acme") == 20
        assert [other.answer for other in await found(second, records[0])] == ["beef"]
        assert not await has(second, records[1])


async def test_a_replica_sees_what_another_writes_changes_and_removes(
    shared_milvus: MilvusLiteServer,
    new_store: NewStore,
    new_hot: NewHot,
    new_database: NewDatabase,
    make: "Maker",
) -> None:
    one = new_database(new_hot(), await new_store(shared_milvus))
    other = new_database(new_hot(), await new_store(shared_milvus))
    record, kept = make.record(1, model="large"), make.record(2)
    async with running(one), running(other):
        for database in (one, other):
            database.follow("acme")
        await eventually(
            lambda: one.is_complete("acme") and other.is_complete("acme"), within_s=WITHIN_S
        )
        await one.add("acme", record)
        await one.add("acme", kept)
        await eventually(lambda: has(other, record), within_s=WITHIN_S)
        await other.set_answer("acme", record.entry_id, "beef")

        async def changed() -> bool:
            return [item.answer for item in await found(one, record)] == ["beef"]

        await eventually(changed, within_s=WITHIN_S)
        await other.remove("acme", Removal(model="large"))

        async def gone() -> bool:
            return not await has(one, record)

        await eventually(gone, within_s=WITHIN_S)
        assert await has(one, kept) and await has(other, kept)


async def test_lookups_are_answered_by_the_index_while_the_store_hangs(
    own_milvus: MilvusLiteServer,
    new_store: NewStore,
    new_hot: NewHot,
    new_database: NewDatabase,
    make: "Maker",
    metrics: Metrics,
) -> None:
    own_milvus.pause()
    store = await new_store(own_milvus, timeout_ms=300)
    record = make.record(1)
    async with running(new_database(new_hot(), store)) as database:
        await database.add("acme", record)
        for _ in range(20):
            assert await has(database, record)
        assert metrics.sample("infermesh_vector_lookups_total", {"by": "index_only"}) == 20
        assert await database.remove("acme", Removal(tag="unknown")) == 0
        assert await database.count("acme") == 1
        assert not await database.set_answer("acme", "00", "beef")
        own_milvus.resume()
        patient = await new_store(own_milvus)
        await eventually(lambda: lies_in(patient, record), within_s=WITHIN_S)
        await eventually(lambda: database.is_complete("acme"), within_s=WITHIN_S)


async def test_a_store_that_lost_everything_is_filled_from_the_index(
    own_milvus: MilvusLiteServer,
    new_store: NewStore,
    new_hot: NewHot,
    new_database: NewDatabase,
    make: "Maker",
) -> None:
    store = await new_store(own_milvus)
    records = [make.record(number) for number in range(300)]
    async with running(new_database(new_hot(), store)) as database:
        for record in records:
            await database.add("acme", record)
        await eventually(lambda: lies_in(store, records[-1]), within_s=WITHIN_S)
        await eventually(lambda: database.is_complete("acme"), within_s=WITHIN_S)
        own_milvus.kill()
        own_milvus.wipe()
        own_milvus.start()

        async def filled() -> bool:
            assert await has(database, records[0]), "served meanwhile"
            try:
                return await store.count("acme", EVERYTHING, 1) == len(records)
            except (Unavailable, DeadlineExceeded):
                return False

        await eventually(filled, within_s=WITHIN_S)


async def test_what_the_index_has_no_room_for_is_found_in_the_store(
    shared_milvus: MilvusLiteServer,
    new_store: NewStore,
    new_hot: NewHot,
    new_database: NewDatabase,
    make: "Maker",
    clock: "Clock",
    ids: Ids,
) -> None:
    store = await new_store(shared_milvus)
    database = new_database(new_hot(quota=5), store)
    records = [make.record(number, create_us=number + 1) for number in range(12)]
    async with running(database):
        database.follow("acme")
        await eventually(lambda: database.is_complete("acme"), within_s=WITHIN_S)
        for record in records:
            clock.now_us += 1
            await database.add("acme", record)
        assert not database.is_complete("acme")
        await eventually(lambda: lies_in(store, records[-1]), within_s=WITHIN_S)
        assert all([await has(database, record) for record in records])
        assert len(await found(database, records[0], 20)) == 12
        assert await database.count("acme") == 12
        assert await database.remove("acme", Removal(entry_id=ids(0)[0])) == 1
        assert not await has(database, records[0]), "also before the store has heard of it"
        assert await database.set_answer("acme", ids(1)[0], "beef")
        assert [item.answer for item in await found(database, records[1])] == ["beef"]
        assert await database.remove("acme", EVERYTHING) == 11
        assert not await found(database, records[5], 20)


async def test_a_clock_that_is_set_back_does_not_undo_later_writes(
    hot: HotIndex, new_database: NewDatabase, make: "Maker", clock: "Clock"
) -> None:
    database = new_database(hot)
    record = make.record(1)
    await database.add("acme", record)
    clock.now_us -= 3_600_000_000
    await database.add("acme", replace(record, answer="beef"))
    assert [item.answer for item in await found(database, record)] == ["beef"]
    assert await database.remove("acme", EVERYTHING) == 1


async def test_a_lookup_that_takes_longer_than_its_stage_is_given_up(
    new_hot: NewHot, new_database: NewDatabase, make: "Maker", pace: Pace
) -> None:
    hot = new_hot(exact_below=10**6)
    # Long work and no time: nobody waits for it.
    database = new_database(hot, None, replace(pace, timeout_ms=1))
    for number in range(2000):
        await database.add("acme", make.record(number))
    [query] = make.units(1)
    calls = [database.nearest("acme", "c0", ["tenant"], query, 1000) for _ in range(20)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    late = [result for result in results if isinstance(result, Unavailable)]
    assert {error.reason for error in late} == {"VECTORS_TIMEOUT"}
    assert await database.count("acme") == 2000


async def test_a_short_pause_of_the_store_loses_nothing(
    own_milvus: MilvusLiteServer,
    new_store: NewStore,
    new_hot: NewHot,
    new_database: NewDatabase,
    make: "Maker",
) -> None:
    store = await new_store(own_milvus, timeout_ms=500)
    patient = await new_store(own_milvus)
    await patient.open()
    records = [make.record(number) for number in range(100)]
    async with running(new_database(new_hot(), store)) as database:
        own_milvus.pause()
        for record in records:
            await database.add("acme", record)
        await database.remove("acme", Removal(entry_id=records[0].entry_id))
        own_milvus.resume()

        async def arrived() -> bool:
            return await patient.count("acme", EVERYTHING, 1) == 99

        await eventually(arrived, within_s=WITHIN_S)


async def test_the_settings_of_a_deployment_make_a_database_that_works(
    shared_milvus: MilvusLiteServer,
    space: EmbeddingSpace,
    metrics: Metrics,
    redis_server: RedisServer,
    tmp_path: Path,
    make: "Maker",
) -> None:
    token = tmp_path / "token"
    token.write_text("root:Milvus\n")
    milvus = {"uri": shared_milvus.uri, "token_file": str(token)}
    milvus |= {"timeout_ms": 30_000, "write_timeout_ms": 30_000}
    settings = settings_for(
        CacheSettings, "cache", tmp_path, redis_server, vectors={"milvus": milvus}
    )
    record = make.record(1)
    opened = open_vector_database(settings.vectors, settings.breaker, space, metrics)
    async with opened as database, running(database):
        await database.add("acme", record)
        assert await database.count("acme") == 1
    alone = settings.vectors.model_copy(update={"milvus": None})
    async with open_vector_database(alone, settings.breaker, space, metrics) as database:
        assert await database.count("acme") == 0
