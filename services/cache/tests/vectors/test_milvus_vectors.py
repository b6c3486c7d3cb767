"""Records in Milvus, on Milvus Lite's real server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import pytest

from infermesh_cache.adapters.outbound.vectors.hot_index import HotIndex
from infermesh_cache.adapters.outbound.vectors.milvus import MilvusVectors, collection_name
from infermesh_cache.adapters.outbound.vectors.milvus_rows import quoted
from infermesh_cache.semantic_ports import EmbeddingSpace, Near, Removal
from infermesh_cache.vector_ports import Removed, Stamped
from infermesh_common.errors import DeadlineExceeded, InvalidArgument, Unavailable
from infermesh_common.testing.milvus import MilvusLiteServer
from infermesh_common.testing.servers import eventually

if TYPE_CHECKING:
    from conftest import Maker

NOW_US = 1000
NewStore = Callable[..., Awaitable[MilvusVectors]]
Ids = Callable[..., list[str]]
pytestmark = pytest.mark.timeout(300)


# float16 in the index; what is nearer to the last one than this may stand on either side of it.
_TOLERANCE = 2e-3


def same_answers(ones: Sequence[Near], others: Sequence[Near]) -> bool:
    """Whether two lists hold the same records, but for ties in the last places."""
    known = {near.record.entry_id: near for near in others}
    for near in ones:
        other = known.get(near.record.entry_id)
        if other is None:
            if near.similarity > others[-1].similarity + _TOLERANCE:
                return False
        elif not close_to(near, other):
            return False
    pairs = zip(ones, others)
    return len(ones) == len(others) and all(
        abs(one.similarity - other.similarity) < _TOLERANCE for one, other in pairs
    )


def close_to(one: Near, other: Near) -> bool:
    """The same record, as far as float16 can tell."""
    vectors = np.allclose(one.record.vector, other.record.vector, atol=_TOLERANCE)
    same = all(
        getattr(one.record, field.name) == getattr(other.record, field.name)
        for field in fields(one.record)
        if field.name != "vector"
    )
    return same and vectors and abs(one.similarity - other.similarity) < _TOLERANCE


async def test_the_index_and_the_store_give_the_same_answers(
    shared_milvus: MilvusLiteServer, new_store: NewStore, hot: HotIndex, make: "Maker"
) -> None:
    store = await new_store(shared_milvus)
    await store.open()
    directions = make.units(500)
    items = []
    for number in range(500):
        record = make.record(
            number,
            directions[number],
            context=f"c{number % 2}",
            scope=("tenant", "team:a", 'user:"\\x')[number % 3],
            expire_us=NOW_US + number % 5,
            tags=("t", f"t{number % 4}"),
        )
        items.append((("acme", "globex")[number % 7 == 0], Stamped(record, number + 1)))
    await store.put(items)
    for tenant, item in items:
        await hot.put(tenant, item)
    for number, query in enumerate(make.units(25)):
        tenant = ("acme", "globex", "nobody")[number % 3]
        scopes = [("tenant",), ("team:a", 'user:"\\x'), ("tenant", "user:eve")][number % 3 - 1]
        where = (tenant, f"c{number % 2}", scopes, query, 8, NOW_US + 1)
        expected, found = await hot.nearest(*where), [n for n, _ in await store.nearest(*where)]
        assert same_answers(expected, found) and same_answers(found, expected), number
        assert bool(found) == (tenant != "nobody")


async def test_a_tenants_name_cannot_leave_its_expression(
    shared_milvus: MilvusLiteServer, new_store: NewStore, make: "Maker"
) -> None:
    store = await new_store(shared_milvus)
    await store.open()
    wicked = ('a" or tenant != "', "a\\", 'a" || "" == "', "a' or 'a' == 'a", "\u00e4 %_*")
    records = {tenant: make.record(tenant) for tenant in ("acme", *wicked)}
    await store.put([(tenant, Stamped(record, 1)) for tenant, record in records.items()])
    for tenant, record in records.items():
        found = await store.nearest(tenant, "c0", ["tenant"], record.vector, 10, NOW_US)
        assert [near.record.entry_id for near, _ in found] == [record.entry_id]
    await store.remove(wicked[0], Removed(Removal(everything=True), 5))
    assert await store.count("acme", Removal(everything=True), NOW_US) == 1
    for name in ("", "a\nb", "a\x00", "x" * 300):
        with pytest.raises(InvalidArgument):
            quoted(name)


@pytest.mark.parametrize(
    ("removal", "left"),
    [
        (Removal(entry_id="?"), [0, 2, 3]),
        (Removal(model="large"), [0, 2]),
        (Removal(tag='t"0'), [1, 3]),
        (Removal(everything=True), []),
    ],
)
async def test_a_removal_is_seen_by_searches_and_by_pages(
    shared_milvus: MilvusLiteServer,
    new_store: NewStore,
    make: "Maker",
    ids: Ids,
    removal: Removal,
    left: list[int],
) -> None:
    if removal.entry_id:
        removal = Removal(entry_id=ids(1)[0])
    store = await new_store(shared_milvus)
    await store.open()
    for tenant in ("acme", "globex"):
        records = [
            make.record(n, model=("small", "large")[n % 2], tags=(f't"{n % 2}',)) for n in range(4)
        ]
        await store.put([(tenant, Stamped(record, n + 1)) for n, record in enumerate(records)])
    assert await store.count("acme", removal, NOW_US) == 4 - len(left)
    await store.remove("acme", Removed(removal, 10))
    [query] = make.units(1)
    found = await store.nearest("acme", "c0", ["tenant"], query, 10, NOW_US)
    assert sorted(near.record.entry_id for near, _ in found) == sorted(ids(*left))
    page = await store.page("acme", 0, 100)
    assert sorted(item.record.entry_id for item in page.records) == sorted(ids(*left))
    assert list(page.removals) == [Removed(removal, 10)]
    assert await store.count("globex", Removal(everything=True), NOW_US) == 4
    late = make.record("late", model="large", tags=('t"0',))
    await store.put([("acme", Stamped(late, 11))])
    await store.remove("acme", Removed(removal, 10))
    assert await store.get("acme", late.entry_id) is not None, "written after the removal"


async def test_pages_hold_the_latest_first_and_everything_once(
    shared_milvus: MilvusLiteServer, new_store: NewStore, make: "Maker"
) -> None:
    store = await new_store(shared_milvus, page_rows=10)
    await store.open()
    await store.put([("acme", Stamped(make.record(n), 1000 - n * n)) for n in range(31)])
    stamps: list[int] = []
    until_us = 2000
    while until_us > 0:
        page = await store.page("acme", 0, until_us)
        assert len(page.records) <= 10 and page.from_us < until_us
        assert all(page.from_us <= item.stamp_us < until_us for item in page.records)
        stamps += sorted((item.stamp_us for item in page.records), reverse=True)
        until_us = page.from_us
    assert stamps == sorted((1000 - n * n for n in range(31)), reverse=True)


async def test_expired_records_are_not_found_and_are_purged(
    shared_milvus: MilvusLiteServer, new_store: NewStore, make: "Maker"
) -> None:
    store = await new_store(shared_milvus)
    await store.open()
    record = make.record(1, expire_us=NOW_US)
    await store.put([("acme", Stamped(record, 1)), ("globex", Stamped(record, 1))])
    where = (["tenant"], record.vector, 10)
    assert not await store.nearest("acme", "c0", *where, NOW_US)
    await store.purge("acme", NOW_US)
    assert not (await store.page("acme", 0, 10)).records
    assert len((await store.page("globex", 0, 10)).records) == 1


async def test_spaces_do_not_mix(
    shared_milvus: MilvusLiteServer, new_store: NewStore, space: EmbeddingSpace
) -> None:
    store = await new_store(shared_milvus)
    assert store.collection == collection_name(space)
    names = {
        collection_name(EmbeddingSpace("a/b@1", 16)),
        collection_name(EmbeddingSpace("a_b@1", 16)),
        collection_name(EmbeddingSpace("a/b@1", 384)),
        collection_name(EmbeddingSpace("a/b@2", 16)),
    }
    assert len(names) == 4
    assert all(name.replace("_", "a").isalnum() for name in names)


async def test_replicas_that_open_at_once_agree_on_what_they_opened(
    own_milvus: MilvusLiteServer, new_store: NewStore
) -> None:
    stores = [await new_store(own_milvus) for _ in range(3)]
    await asyncio.gather(*(store.open() for store in stores))
    assert len({await store.open() for store in stores}) == 1


async def test_a_store_that_lost_everything_is_made_anew_and_says_so(
    own_milvus: MilvusLiteServer, new_store: NewStore, make: "Maker"
) -> None:
    store = await new_store(own_milvus)
    identity = await store.open()
    assert await store.open() == identity
    own_milvus.kill()
    with pytest.raises((Unavailable, DeadlineExceeded)):
        await store.put([("acme", Stamped(make.record(1), 1))])
    own_milvus.wipe()
    own_milvus.start()

    async def writes() -> bool:
        try:
            await store.put([("acme", Stamped(make.record(1), 1))])
        except (Unavailable, DeadlineExceeded):
            return False
        return True

    await eventually(writes, within_s=60)
    assert await store.open() != identity
    assert await store.count("acme", Removal(everything=True), NOW_US) == 1


async def test_a_store_that_hangs_costs_its_time_out_and_then_nothing(
    own_milvus: MilvusLiteServer, new_store: NewStore, make: "Maker"
) -> None:
    store = await new_store(own_milvus, timeout_ms=20_000)
    await store.open()
    hasty = await new_store(own_milvus, timeout_ms=200)
    record = make.record(1)
    own_milvus.pause()
    where = ("acme", "c0", ["tenant"], record.vector, 1, NOW_US)
    reasons = []
    for _ in range(5):
        with pytest.raises((Unavailable, DeadlineExceeded)) as caught:
            await hasty.nearest(*where)
        reasons.append(caught.value.reason)
    assert reasons[0] == "MILVUS_TIMEOUT" and reasons[-1] == "MILVUS_CIRCUIT_OPEN"
    own_milvus.resume()
    await store.put([("acme", Stamped(record, 1))])
    assert len(await store.nearest(*where)) == 1
