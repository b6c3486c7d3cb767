"""Invalidation removes what it names, counts it exactly, and wins against flights under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
import pytest

from infermesh_cache.domain.keys import Slot
from infermesh_common.identity.model import Role
from infermesh_common.testing.servers import RedisServer, eventually

if TYPE_CHECKING:
    from services.cache.tests.conftest import Caller, Mesh, Replica

BATCH = 7


async def fill(caller: Caller) -> None:
    """30 entries: 20 of "small", 10 of "large"; every third tagged "x", every fifth "y"."""
    for n in range(30):
        tags = tuple(tag for tag, step in (("x", 3), ("y", 5)) if n % step == 0)
        await caller.store(f"q{n}", model="small" if n < 20 else "large", tags=tags)


async def left(caller: Caller) -> set[int]:
    return {n for n in range(30) if await caller.body_of(f"q{n}") is not None}


@pytest.mark.parametrize(
    ("selector", "gone"),
    [
        (("all", ""), set(range(30))),
        (("model", "small"), set(range(20))),
        (("model", "unheard-of"), set()),
        (("tag", "x"), set(range(0, 30, 3))),
        (("tag", "y"), set(range(0, 30, 5))),
        (("fingerprint", "q4"), {4}),
        (("fingerprint", "never asked"), set()),
    ],
    ids=["all", "model", "no model", "tag", "other tag", "one", "none"],
)
async def test_an_invalidation_removes_and_counts_exactly_what_it_names(
    mesh: Mesh, redis_server: RedisServer, selector: tuple[str, str], gone: set[int]
) -> None:
    replica = await mesh.start(redis_server, entries={"batch": BATCH})
    caller = replica.caller()
    await fill(caller)
    for dry_run in (True, False):
        assert await left(caller) == set(range(30))
        count = await caller.invalidate(*selector, dry_run=dry_run)
        assert count == len(gone)
    assert await left(caller) == set(range(30)) - gone
    assert await caller.invalidate(*selector) == 0
    stats = await caller.stats()
    assert stats.entries == 30 - len(gone)
    assert (stats.stored_bytes == 0) == (stats.entries == 0)


async def test_what_has_expired_is_not_counted(mesh: Mesh, redis_server: RedisServer) -> None:
    replica = await mesh.start(redis_server, entries={"batch": BATCH})
    caller = replica.caller()
    for n in range(20):
        await caller.store(f"short{n}", tags=("t",), ttl_s=0.05)
    await caller.store("long", tags=("t",))
    with redis_server.client() as client:
        await eventually(lambda: len(client.keys("acme:cache:entry:*")) == 1)
    assert await caller.invalidate("tag", "t", dry_run=True) == 1
    assert await caller.invalidate("tag", "t") == 1
    with redis_server.client() as client:
        assert client.keys("acme:*") == [b"acme:cache:generation"]


SELECTORS = [("all", ""), ("model", "small"), ("tag", "t"), ("fingerprint", "q")]


@pytest.mark.parametrize("selector", SELECTORS, ids=[scope for scope, _ in SELECTORS])
async def test_an_invalidation_wins_against_a_flight_under_way(
    mesh: Mesh, redis_server: RedisServer, selector: tuple[str, str]
) -> None:
    replica = await mesh.start(redis_server, flights={"lease_ttl_ms": 600_000, "poll_ms": 50})
    caller = replica.caller()
    began_before = await caller.lead("q")
    waiting = asyncio.create_task(caller.lookup("q", single_flight=True, wait_s=50))

    async def it_waits() -> bool:
        return await replica.in_flight() == 1

    await eventually(it_waits)
    assert await caller.invalidate(*selector) == 0
    # Whoever waits makes the answer anew instead of getting the outdated one.
    began_after = (await waiting).lease.token
    assert began_after
    assert not await caller.renew("q", began_before)
    outdated = await caller.store("q", b"old", token=began_before, tags=("t",))
    assert (outdated.stored, outdated.reason) == (False, "LEASE_LOST")
    assert await caller.body_of("q") is None
    assert (await caller.store("q", b"new", token=began_after, tags=("t",))).stored
    assert await caller.body_of("q") == b"new"


async def test_an_outdated_flight_is_not_joined(replica: Replica) -> None:
    caller = replica.caller()
    outdated = await caller.lead("q")
    await caller.invalidate()
    assert await caller.lead("q") != outdated


async def test_a_dry_run_leaves_flights_alone(replica: Replica) -> None:
    caller = replica.caller()
    token = await caller.lead("q")
    for selector in SELECTORS:
        await caller.invalidate(*selector, dry_run=True)
    assert (await caller.store("q", token=token)).stored


async def test_what_is_stored_while_an_invalidation_runs_stays(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, entries={"batch": BATCH})
    caller = replica.caller()
    await fill(caller)

    async def store_until(done: asyncio.Event) -> set[str]:
        stored: set[str] = set()
        while not done.is_set():
            stored.add(question := f"new{len(stored)}")
            await caller.store(question)
        return stored

    done = asyncio.Event()
    storing = asyncio.create_task(store_until(done))
    with redis_server.client() as client:
        await eventually(lambda: len(client.keys("acme:cache:entry:*")) > 30)
        before = await caller.invalidate(dry_run=True)
        count = await caller.invalidate()
    done.set()
    stored = await storing
    remaining = {q for q in stored if await caller.body_of(q) is not None}
    assert await left(caller) == set()
    assert count >= before
    assert count + len(remaining) == 30 + len(stored)
    assert (await caller.stats()).entries == len(remaining)


@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN, Role.OPERATOR])
async def test_only_who_administers_may_invalidate(
    replica: Replica, reason_of: Callable[[grpc.aio.AioRpcError], str], role: Role
) -> None:
    caller = replica.caller(role=role)
    await caller.store("q")
    if role is not Role.MEMBER:
        assert await caller.invalidate() == 1
        return
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await caller.invalidate()
    assert reason_of(refusal.value) == "ROLE_REQUIRED"
    assert await caller.body_of("q") == b"42"


async def test_an_invalidation_touches_no_other_tenant(
    replica: Replica, redis_server: RedisServer, slot_of: Callable[..., Slot]
) -> None:
    acme, globex = replica.caller("acme"), replica.caller("globex")
    await fill(acme)
    await fill(globex)
    token = await globex.lead("under way")
    assert await acme.invalidate() == 30
    assert await left(globex) == set(range(30))
    assert (await globex.store("under way", token=token)).stored
