"""Size bound, indexes and counts: right after any sequence of operations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infermesh_common.testing.servers import RedisServer, eventually

if TYPE_CHECKING:
    from services.cache.tests.conftest import Caller, Mesh, Replica

UNSWEPT = {"uses_interval_ms": 600_000, "sweep_interval_ms": 600_000}
EAGER = {"sweep_interval_ms": 50, "batch": 3}


async def stored_size(caller: Caller, question: str, body: bytes) -> int:
    """Bytes that an entry takes."""
    before = (await caller.stats()).stored_bytes
    await caller.store(question, body)
    return (await caller.stats()).stored_bytes - before


async def questions_left(caller: Caller, questions: str) -> str:
    return "".join([q for q in questions if await caller.body_of(q) is not None])


async def test_the_size_bound_evicts_the_least_recently_used(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, entries=UNSWEPT)
    caller = replica.caller()
    size = await stored_size(caller, "a", os.urandom(500))
    mesh.declare("acme", maxTenantBytes=3 * size)

    async def in_force() -> bool:
        return (await caller.stats()).limit_bytes == 3 * size

    await eventually(in_force)
    for question in "bc":
        await caller.store(question, os.urandom(500))
    # "a" is the oldest and was used last; "b" is what goes.
    assert await caller.body_of("a") is not None
    await caller.store("d", os.urandom(500))
    assert await replica.metric("infermesh_cache_evictions_total", tenant="acme") == 1
    assert await questions_left(caller, "abcd") == "acd"
    # That used them in this order. One large entry takes the place of two.
    await caller.store("e", os.urandom(500 + size))
    assert await replica.metric("infermesh_cache_evictions_total", tenant="acme") == 3
    assert await questions_left(caller, "abcde") == "de"
    stats = await caller.stats()
    assert (stats.entries, stats.stored_bytes) == (2, 3 * size)


async def test_what_has_expired_makes_room_before_anything_is_evicted(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, entries=UNSWEPT)
    caller = replica.caller()
    size = await stored_size(caller, "a", os.urandom(500))
    # How long an entry lives is written with it, in some more bytes or fewer.
    bound = 2 * size + 20
    mesh.declare("acme", maxTenantBytes=bound)

    async def in_force() -> bool:
        return (await caller.stats()).limit_bytes == bound

    await eventually(in_force)
    await caller.store("short", os.urandom(500), ttl_s=0.05)

    async def expired() -> bool:
        return await caller.body_of("short") is None

    # Nothing but the store itself clears it away.
    await eventually(expired)
    await caller.store("b", os.urandom(500))
    assert await replica.metric("infermesh_cache_evictions_total", tenant="acme") == 0
    assert await questions_left(caller, "ab") == "ab"
    assert (await caller.stats()).stored_bytes == 2 * size


async def test_a_store_makes_room_in_batches(mesh: Mesh, redis_server: RedisServer) -> None:
    replica = await mesh.start(redis_server, entries={**UNSWEPT, "batch": 3})
    caller = replica.caller()
    for n in range(20):
        await caller.store(f"q{n}", os.urandom(500))
    limit = (await caller.stats()).stored_bytes
    mesh.declare("acme", maxTenantBytes=limit)

    async def in_force() -> bool:
        return (await caller.stats()).limit_bytes == limit

    await eventually(in_force)
    await caller.store("large", os.urandom(limit - 200))
    assert await caller.body_of("large") is not None
    stats = await caller.stats()
    assert stats.stored_bytes <= limit
    assert stats.entries == 1
    assert await replica.metric("infermesh_cache_evictions_total", tenant="acme") == 20


async def test_a_lowered_bound_is_enforced_without_a_store(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, entries=EAGER)
    caller = replica.caller()
    for n in range(20):
        await caller.store(f"q{n}", os.urandom(500))
    mesh.declare("acme", maxTenantBytes=2_000)

    async def within() -> bool:
        return (await caller.stats()).stored_bytes <= 2_000

    await eventually(within)
    assert await caller.body_of("q19") is not None
    assert await caller.body_of("q0") is None


async def test_nothing_is_left_of_what_expired_even_when_nobody_asks(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, entries=EAGER)
    caller = replica.caller()
    for n in range(20):
        await caller.store(f"q{n}", tags=("t", f"t{n}"), ttl_s=0.05)
    # Not even when its tenant is no longer declared.
    mesh.withdraw("acme")
    with redis_server.client() as client:
        await eventually(lambda: client.keys("*") == [])


async def test_a_hit_is_a_mere_read_and_its_use_is_noted_later(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    first, second = [
        await mesh.start(redis_server, entries={**UNSWEPT, "uses_interval_ms": interval})
        for interval in (600_000, 50)
    ]
    for question in "abc":
        await first.caller().store(question)

    def order() -> list[bytes]:
        with redis_server.client() as client:
            return list(client.zrange("acme:cache:lru", 0, -1))

    a, b, c = order()
    assert await first.caller().body_of("a") is not None
    assert order() == [a, b, c]
    # In their order, by what is told in time and by what a store tells.
    assert await second.caller().body_of("b") is not None
    await eventually(lambda: order() == [a, c, b])
    await first.caller().store("d")
    assert order()[:3] == [c, b, a]


async def test_a_use_of_what_is_gone_brings_nothing_back(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    caller = (await mesh.start(redis_server, entries=UNSWEPT)).caller()
    await caller.store("a", ttl_s=60)
    await caller.body_of("a")
    await caller.invalidate()
    await caller.store("b")
    check_indexes(redis_server, 1)


QUESTIONS = st.sampled_from("abcdef")
MODELS = st.sampled_from(("m1", "m2"))
TAGS = st.sets(st.sampled_from(("t1", "t2", "t3")), max_size=3)
STORE = st.tuples(st.just("store"), QUESTIONS, MODELS, TAGS, st.integers(1, 900))
REMOVE = st.one_of(
    st.tuples(st.just("fingerprint"), QUESTIONS),
    st.tuples(st.just("model"), MODELS),
    st.tuples(st.just("tag"), st.sampled_from(("t1", "t2", "t3"))),
)
Model = dict[str, tuple[str, frozenset[str], int]]


def selected(model: Model, kind: str, value: str) -> set[str]:
    """Questions that a selector names."""
    return {
        question
        for question, (name, tags, _) in model.items()
        if (kind == "fingerprint" and value == question)
        or (kind == "model" and value == name)
        or (kind == "tag" and value in tags)
    }


def check_indexes(redis: RedisServer, entries: int) -> None:
    """Every index holds exactly the entries there are, and the sum of bytes is theirs."""
    with redis.client() as client:
        keys = client.keys("acme:cache:entry:*")
        members = {key.removeprefix(b"acme:cache:entry:") for key in keys}
        assert len(members) == entries
        assert int(client.get("acme:cache:bytes") or 0) == sum(map(client.strlen, keys))
        assert set(client.hkeys("acme:cache:meta")) == members
        assert set(client.zrange("acme:cache:lru", 0, -1)) == members
        assert set(client.zrange("acme:cache:expiry", 0, -1)) == members
        by_model = [client.smembers(key) for key in client.keys("acme:cache:model:*")]
        assert sum(map(len, by_model)) == len(members)


@pytest.fixture
async def exact(mesh: Mesh, redis_server: RedisServer) -> Replica:
    return await mesh.start(redis_server, entries=UNSWEPT)


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.one_of(STORE, REMOVE), min_size=1, max_size=25))
async def test_counts_and_indexes_are_right_after_any_sequence(
    exact: Replica, redis_server: RedisServer, steps: list[tuple[object, ...]]
) -> None:
    model: Model = {}
    with redis_server.client() as client:
        client.flushall()
    caller = exact.caller()
    for step in steps:
        if step[0] == "store":
            _, question, name, tags, size = step
            assert isinstance(question, str) and isinstance(name, str)
            assert isinstance(tags, set) and isinstance(size, int)
            model[question] = (name, frozenset(tags), size)
            await caller.store(question, os.urandom(size), model=name, tags=tuple(tags))
        else:
            kind, value = str(step[0]), str(step[1])
            gone = selected(model, kind, value)
            count = await caller.invalidate(kind, value)
            assert count == len(gone)
            for question in gone:
                del model[question]
        assert (await caller.stats()).entries == len(model)
        check_indexes(redis_server, len(model))
    for kind, value in (("model", "m1"), ("model", "m2"), ("tag", "t1"), ("tag", "t3")):
        count = await caller.invalidate(kind, value, dry_run=True)
        assert count == len(selected(model, kind, value))
