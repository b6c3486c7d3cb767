"""The index in the process, by itself."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from infermesh_cache.adapters.outbound.vectors.hot_index import HotIndex
from infermesh_cache.semantic_ports import Floats, Removal
from infermesh_cache.vector_ports import Removed, Stamped
from infermesh_common.errors import InvalidArgument, ResourceExhausted, Unavailable
from infermesh_common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from conftest import Maker

NOW_US = 1000
NewHot = Callable[..., HotIndex]
Ids = Callable[..., list[str]]


async def fill(hot: HotIndex, make: "Maker", vectors: Floats, first: int = 0) -> None:
    items = [Stamped(make.record(first + i, v), 1) for i, v in enumerate(vectors)]
    assert await hot.load("acme", items, NOW_US)


async def names(hot: HotIndex, vector: Floats, limit: int = 10, **where: object) -> list[str]:
    tenant = str(where.get("tenant", "acme"))
    context = str(where.get("context", "c0"))
    scopes = where.get("scopes", ("tenant",))
    assert isinstance(scopes, tuple)
    near = await hot.nearest(tenant, context, scopes, vector, limit, NOW_US)
    return [item.record.entry_id for item in near]


async def test_small_partitions_are_searched_exactly(
    hot: HotIndex, make: "Maker", ids: Ids
) -> None:
    vectors = make.units(60)
    await fill(hot, make, vectors)
    for query in make.units(20):
        cosines = vectors @ query
        order = np.argsort(-cosines)[:10]
        near = await hot.nearest("acme", "c0", ["tenant"], query, 10, NOW_US)
        assert [item.record.entry_id for item in near] == ids(*order)
        assert np.allclose([item.similarity for item in near], cosines[order], atol=1e-3)


async def test_recall_at_ten_of_the_graph_is_near_that_of_exact_search(
    hot: HotIndex, make: "Maker", ids: Ids
) -> None:
    vectors = make.units(5000)
    await fill(hot, make, vectors)
    await hot.settled()
    found = 0
    queries = make.units(50)
    for query in queries:
        exact = ids(*np.argsort(-(vectors @ query))[:10])
        found += len(set(exact) & set(await names(hot, query)))
    assert found >= 0.98 * 10 * len(queries)


async def test_a_record_comes_back_as_it_was_stored(hot: HotIndex, make: "Maker") -> None:
    record = make.record(
        1,
        scope="user:ann",
        tags=("a", 'b"\\'),
        text="\U0001f600 \u0645\u0631\u062d\u0628\u0627 \ud800",
    )
    await hot.put("acme", Stamped(record, 5))
    [near] = await hot.nearest("acme", "c0", ["user:ann"], record.vector, 3, NOW_US)
    assert near.similarity == pytest.approx(1, abs=1e-5)
    assert np.allclose(near.record.vector, record.vector, atol=1e-3)
    assert replace(near.record, vector=record.vector) == replace(record, vector=record.vector) or (
        [getattr(near.record, name) for name in ("entry_id", "text", "tags", "answer", "model")]
        == [getattr(record, name) for name in ("entry_id", "text", "tags", "answer", "model")]
    )


@pytest.mark.parametrize(
    "vector",
    [
        np.full(16, np.nan, np.float32),
        np.array([np.inf] + [0] * 15, np.float32),
        np.zeros(16, np.float32),
        np.full(16, 1e-30, np.float32),
        np.ones(15, np.float32),
        np.ones((1, 16), np.float32),
        np.zeros(0, np.float32),
    ],
    ids=["nan", "infinite", "zero", "too-small", "dimension", "shape", "empty"],
)
async def test_a_vector_without_a_direction_is_refused_and_harms_nothing(
    hot: HotIndex, make: "Maker", vector: Floats
) -> None:
    good = make.record(1)
    await hot.put("acme", Stamped(good, 1))
    with pytest.raises(InvalidArgument, match="vector"):
        await hot.put("acme", Stamped(make.record(2, vector), 1))
    with pytest.raises(InvalidArgument, match="vector"):
        await hot.nearest("acme", "c0", ["tenant"], vector, 1, NOW_US)
    assert await hot.load("acme", [Stamped(make.record(3, vector), 1)], NOW_US)
    assert await hot.count("acme") == 1
    assert await names(hot, good.vector) == [good.entry_id]


async def test_a_huge_vector_counts_by_its_direction(hot: HotIndex, make: "Maker") -> None:
    record = make.record(1)
    await hot.put("acme", Stamped(replace(record, vector=record.vector * np.float32(1e37)), 1))
    [near] = await hot.nearest("acme", "c0", ["tenant"], record.vector, 1, NOW_US)
    assert near.similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("change", [{"entry_id": ""}, {"scope": ""}, {"expire_time_us": 1}])
async def test_a_record_that_makes_no_sense_is_refused(
    hot: HotIndex, make: "Maker", change: dict[str, object]
) -> None:
    with pytest.raises(InvalidArgument):
        await hot.put("acme", Stamped(replace(make.record(1), **change), 1))


async def test_a_text_that_is_too_long_is_refused(hot: HotIndex, make: "Maker") -> None:
    with pytest.raises(InvalidArgument, match="longer than"):
        await hot.put("acme", Stamped(make.record(1, text="x" * 1_000_000), 1))


async def test_what_has_expired_is_not_found_before_it_is_swept(
    hot: HotIndex, make: "Maker"
) -> None:
    [query] = make.units(1)
    # Nearer than all others, and many: they take every place of a first search.
    for number in range(400):
        await hot.put("acme", Stamped(make.record(number, query, expire_us=NOW_US), 1))
    late = make.record("late", make.units(1)[0], expire_us=NOW_US + 1)
    await hot.put("acme", Stamped(late, 1))
    await hot.settled()
    assert await names(hot, query) == [late.entry_id]
    assert await hot.sweep(NOW_US) == 400
    assert await hot.count("acme") == 1
    assert await names(hot, query) == [late.entry_id]


@pytest.mark.parametrize(
    ("removal", "left"),
    [
        (Removal(entry_id="?"), 99),
        (Removal(model="large"), 50),
        (Removal(tag="t3"), 90),
        (Removal(everything=True), 0),
        (Removal(model="unknown"), 100),
        (Removal(tag="unknown"), 100),
    ],
)
async def test_a_removal_takes_what_it_names_and_nothing_else(
    hot: HotIndex, make: "Maker", ids: Ids, removal: Removal, left: int
) -> None:
    [query] = make.units(1)
    if removal.entry_id:
        removal = Removal(entry_id=ids(7)[0])
    for tenant in ("acme", "globex"):
        for number in range(100):
            model, tag = ("small", "large")[number % 2], f"t{number % 10}"
            record = make.record(number, model=model, tags=(tag, "all"))
            await hot.put(tenant, Stamped(record, 5))
    await hot.settled()
    assert await hot.remove("acme", Removed(removal, 5), dry_run=True) == 100 - left
    assert await hot.count("acme") == 100
    assert await hot.remove("acme", Removed(removal, 4), dry_run=False) == 0, "older than all"
    assert await hot.remove("acme", Removed(removal, 5), dry_run=False) == 100 - left
    assert await hot.count("acme") == left
    assert len(await names(hot, query, 200)) == left
    assert len(await names(hot, query, 200, tenant="globex")) == 100


async def test_a_record_takes_the_place_of_an_older_one_of_its_name(
    hot: HotIndex, make: "Maker"
) -> None:
    first = make.record(1, context="c0", tags=("old",))
    second = replace(first, context="c1", tags=("new",), answer="ab")
    await hot.put("acme", Stamped(first, 5))
    await hot.put("acme", Stamped(second, 6))
    await hot.put("acme", Stamped(first, 4))
    assert await hot.load("acme", [Stamped(first, 5)], NOW_US)
    assert await hot.count("acme") == 1
    assert await names(hot, first.vector, context="c0") == []
    assert await names(hot, first.vector, context="c1") == [first.entry_id]
    assert await hot.remove("acme", Removed(Removal(tag="old"), 9), dry_run=False) == 0


async def test_an_answer_is_changed_in_place(hot: HotIndex, make: "Maker") -> None:
    record = make.record(1, tags=("t",))
    await hot.put("acme", Stamped(record, 5))
    item = await hot.set_answer("acme", record.entry_id, "beef", 6)
    assert item is not None and (item.record.answer, item.stamp_us) == ("beef", 6)
    [near] = await hot.nearest("acme", "c0", ["tenant"], record.vector, 1, NOW_US)
    assert (near.record.answer, near.record.text) == ("beef", record.text)
    assert await hot.set_answer("globex", record.entry_id, "dead", 6) is None
    assert await hot.set_answer("acme", "00", "dead", 6) is None


async def test_a_tenant_over_its_quota_loses_what_was_used_least_recently(
    new_hot: NewHot, make: "Maker", metrics: Metrics
) -> None:
    hot = new_hot(quota=10)
    await hot.put("globex", Stamped(make.record("other"), 1))
    records = [make.record(number, create_us=number + 1) for number in range(10)]
    for record in records:
        assert not await hot.put("acme", Stamped(record, 1))
    assert (await names(hot, records[0].vector, 1)) == [records[0].entry_id]
    assert await hot.put("acme", Stamped(make.record("new", create_us=50), 1)) == {"acme"}
    held = await hot.holds("acme", [record.entry_id for record in records])
    assert held == {r.entry_id for r in records} - {records[1].entry_id}
    assert await hot.count("globex") == 1
    evicted = metrics.sample("infermesh_vector_evictions_total", {"tenant": "acme"})
    assert evicted == 1 and metrics.sample("infermesh_vector_records") == 11


async def test_a_category_over_its_quota_loses_of_its_own(new_hot: NewHot, make: "Maker") -> None:
    hot = new_hot(category_quota=lambda tenant, name: {"quiz": 3}.get(name))
    others = [make.record(f"other {n}", context="c1", category="general") for n in range(4)]
    quiz = [make.record(n, create_us=n + 10, category="quiz") for n in range(5)]
    for record in others + quiz:
        await hot.put("acme", Stamped(record, 1))
    held = await hot.holds("acme", [record.entry_id for record in others + quiz])
    assert held == {record.entry_id for record in others + quiz[2:]}
    [near] = await hot.nearest("acme", "c0", ["tenant"], quiz[4].vector, 1, NOW_US)
    assert near.record.category == "quiz"
    # One that goes makes room for one more, and what is there is no news.
    await hot.remove("acme", Removed(Removal(entry_id=quiz[2].entry_id), 2), dry_run=False)
    assert not await hot.put("acme", Stamped(make.record(7, category="quiz"), 3))
    assert not await hot.put("acme", Stamped(quiz[3], 4))
    assert not await hot.load("acme", [Stamped(make.record(8, category="quiz"), 5)], NOW_US)
    assert await hot.load("acme", [Stamped(make.record(9, category="general"), 5)], NOW_US)


async def test_of_old_questions_those_go_first_whose_answer_others_hold(
    new_hot: NewHot, make: "Maker"
) -> None:
    hot = new_hot(quota=10)
    # From least to most recently used; "b" is alone, and "c" of another context.
    answers = [*"baaac", *(f"{number}" for number in range(5))]
    for number, answer in enumerate(answers):
        context = "c1" if number == 4 else "c0"
        record = make.record(number, answer=answer, create_us=number + 1, context=context)
        await hot.put("acme", Stamped(record, 1))
    ids = [make.record(number).entry_id for number in range(10)]
    for new, gone in ((10, 1), (11, 2), (12, 0)):
        await hot.put("acme", Stamped(make.record(new, create_us=100 + new), 1))
        assert ids[gone] not in await hot.holds("acme", ids)
    assert len(await hot.holds("acme", ids)) == 7


async def test_at_the_bound_of_all_tenants_the_largest_one_gives_way(
    new_hot: NewHot, make: "Maker"
) -> None:
    hot = new_hot(max_records=20)
    for number in range(18):
        await hot.put("large", Stamped(make.record(number), 1))
    for number in range(8):
        evicted = await hot.put("little", Stamped(make.record(number), 1))
        assert evicted == ({"large"} if number >= 2 else set())
    assert (await hot.count("large"), await hot.count("little")) == (12, 8)


async def test_loading_evicts_nothing_and_says_that_there_was_no_room(
    new_hot: NewHot, make: "Maker"
) -> None:
    hot = new_hot(quota=5)
    items = [Stamped(make.record(number), 1) for number in range(7)]
    assert not await hot.load("acme", items, NOW_US)
    assert await hot.count("acme") == 5
    assert await hot.load("acme", items[:3], NOW_US), "they are there"


async def test_a_tenant_without_quota_stores_nothing(new_hot: NewHot, make: "Maker") -> None:
    hot = new_hot(quota=lambda tenant: 0 if tenant == "acme" else 5)
    with pytest.raises(ResourceExhausted):
        await hot.put("acme", Stamped(make.record(1), 1))
    await hot.put("globex", Stamped(make.record(1), 1))


async def test_answers_stay_right_while_the_graph_is_made_anew(
    new_hot: NewHot, make: "Maker", ids: Ids
) -> None:
    hot = new_hot(exact_below=200)
    vectors = dict(enumerate(make.units(1500)))
    await fill(hot, make, np.stack(list(vectors.values())))
    # More than a graph stands before it is made anew.
    following = 1500
    for _ in range(8):
        for number in list(vectors)[:700]:
            del vectors[number]
            removed = Removed(Removal(entry_id=ids(number)[0]), NOW_US)
            assert await hot.remove("acme", removed, dry_run=False) == 1
        fresh = make.units(700)
        await fill(hot, make, fresh, following)
        vectors.update(enumerate(fresh, following))
        following += 700
        matrix, numbers = np.stack(list(vectors.values())), list(vectors)
        found = 0
        for query in make.units(10):
            exact = {ids(numbers[i])[0] for i in np.argsort(-(matrix @ query))[:10]}
            got = set(await names(hot, query))
            assert got <= set(ids(*numbers)), "removed ones are not found"
            found += len(exact & got)
        assert found >= 95
    assert await hot.count("acme") == len(vectors)


async def test_lookups_are_answered_while_much_is_loaded(new_hot: NewHot, make: "Maker") -> None:
    hot = new_hot(exact_below=200)
    first = make.record("first")
    await hot.put("acme", Stamped(first, 1))
    loading = asyncio.create_task(fill(hot, make, make.units(4000)))
    answered = 0
    while not loading.done():
        assert (await names(hot, first.vector, 1)) == [first.entry_id]
        answered += 1
    await loading
    assert answered > 10


async def test_too_many_waiting_calls_are_refused(new_hot: NewHot, make: "Maker") -> None:
    hot = new_hot(max_queued=2)
    await hot.put("acme", Stamped(make.record(1), 1))
    [query] = make.units(1)
    calls = [hot.nearest("acme", "c0", ["tenant"], query, 1, NOW_US) for _ in range(200)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert refused and {error.reason for error in refused} == {"VECTORS_OVERLOADED"}
    assert len(refused) < 200


async def test_pages_hold_every_record_once(hot: HotIndex, make: "Maker", ids: Ids) -> None:
    for number in range(30):
        record = make.record(number, context=f"c{number % 3}", scope=f"team:{number % 2}")
        await hot.put("acme", Stamped(record, number))
    seen, place = [], 0
    while place >= 0:
        items, place = await hot.page("acme", place, 7)
        assert len(items) <= 7
        seen.extend(item.record.entry_id for item in items)
    assert sorted(seen) == sorted(ids(*range(30)))
    assert await hot.page("nobody", 0, 7) == ((), -1)


async def test_a_closed_index_answers_unavailable(new_hot: NewHot, make: "Maker") -> None:
    hot = new_hot()
    await hot.put("acme", Stamped(make.record(1), 1))
    await hot.close()
    with pytest.raises(Unavailable, match="closed"):
        await hot.count("acme")
    with pytest.raises(Unavailable, match="closed"):
        await hot.sweep(NOW_US)
