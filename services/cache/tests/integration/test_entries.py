"""Entries over real gRPC: what is stored comes out, as long and as far as the policy says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
import pytest

from infermesh.common.v1 import usage_pb2
from infermesh_cache.domain.keys import Slot
from infermesh_common.identity.directory import INTERNAL_TOKEN_HEADER, TENANT_HEADER
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.settings import INTERNAL_TOKEN

if TYPE_CHECKING:
    from services.cache.tests.conftest import Caller, Mesh, Replica


async def test_an_entry_comes_out_as_it_was_stored(replica: Replica) -> None:
    caller = replica.caller()
    usage = usage_pb2.TokenUsage(input_tokens=12, output_tokens=30, reasoning_tokens=7)
    before = time.time()
    stored = await caller.store(
        "q", b'{"a": 1}', model="small", provider="main", tags=("team=a", "beta"), usage=usage
    )
    assert (stored.stored, stored.reason, stored.version) == (True, "", 1)
    response = await caller.lookup("q")
    hit = response.hit
    assert not response.shared
    assert (hit.body, hit.model, hit.provider) == (b'{"a": 1}', "small", "main")
    assert (hit.usage, list(hit.tags), hit.version) == (usage, ["team=a", "beta"], 1)
    assert before - 60 < hit.create_time.ToMicroseconds() / 1e6 < time.time() + 60


async def test_a_usage_that_is_unknown_stays_unknown(replica: Replica) -> None:
    caller = replica.caller()
    await caller.store("q", usage=None)
    assert not (await caller.lookup("q")).hit.HasField("usage")


async def test_an_absent_entry_is_a_miss(replica: Replica) -> None:
    assert (await replica.caller().lookup("never asked")).miss.reason == "NOT_FOUND"


async def test_a_replacement_raises_the_version_and_is_not_counted_twice(
    replica: Replica,
) -> None:
    caller = replica.caller()
    for n in range(1, 4):
        body = b"x" * n
        assert (await caller.store("q", body, tags=(f"t{n}",))).version == n
        assert (await caller.lookup("q")).hit.body == body
    stats = await caller.stats()
    assert stats.entries == 1
    assert [await caller.invalidate("tag", f"t{n}", dry_run=True) for n in (1, 2, 3)] == [0, 0, 1]


@pytest.mark.parametrize("size", [2_000, 300_000])
async def test_what_compresses_is_stored_smaller(replica: Replica, size: int) -> None:
    caller = replica.caller()
    body = (b"the same words again and again " * size)[:size]
    await caller.store("q", body)
    assert (await caller.stats()).stored_bytes < size / 5
    assert await caller.body_of("q") == body


@pytest.mark.parametrize("size", [2_000, 300_000])
async def test_what_does_not_compress_is_stored_as_it_is(replica: Replica, size: int) -> None:
    caller = replica.caller()
    body = os.urandom(size)
    await caller.store("q", body)
    assert size <= (await caller.stats()).stored_bytes < size + 200
    assert await caller.body_of("q") == body


async def test_an_entry_is_gone_when_its_time_is_over(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    mesh.declare("acme", ttlSeconds=1)
    caller = (await mesh.start(redis_server)).caller()
    await caller.store("asks for less", ttl_s=0.05)
    await caller.store("asks for more", ttl_s=3600)
    with redis_server.client() as client:
        (key,) = [k for k in client.keys("acme:cache:entry:*") if client.pttl(k) > 60]
        assert client.pttl(key) <= 1000

    async def both_gone() -> bool:
        return [await caller.body_of(q) for q in ("asks for less", "asks for more")] == [None] * 2

    await eventually(both_gone)


async def test_an_entry_older_than_accepted_is_a_miss_for_that_caller(replica: Replica) -> None:
    caller = replica.caller()
    await caller.store("q")

    async def too_old(max_age_s: float) -> bool:
        return (await caller.lookup("q", max_age_s=max_age_s)).HasField("miss")

    assert not await too_old(3600)
    assert await too_old(0)
    await eventually(lambda: too_old(0.05))
    assert await caller.body_of("q") == b"42"


async def test_an_entry_above_the_bound_is_not_stored(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    mesh.declare("acme", maxEntryBytes=100)
    mesh.declare("globex", maxTenantBytes=100)
    replica = await mesh.start(redis_server)
    acme, globex = replica.caller("acme"), replica.caller("globex")
    for caller, size in ((acme, 101), (globex, 101)):
        refused = await caller.store("q", os.urandom(size))
        assert (refused.stored, refused.reason, refused.version) == (False, "TOO_LARGE", 0)
        assert await caller.body_of("q") is None
    assert (await acme.store("q", os.urandom(100))).stored
    assert (
        await replica.metric("infermesh_cache_stores_total", tenant="acme", outcome="too_large")
        == 1
    )


async def test_a_policy_that_is_off_neither_finds_nor_stores(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server)
    caller = replica.caller()
    await caller.store("q")
    mesh.declare("acme", enabled=False)

    async def is_off() -> bool:
        return await caller.body_of("q") is None

    await eventually(is_off)
    assert (await caller.lookup("q", single_flight=True)).miss.reason == "NOT_FOUND"
    assert (await caller.store("q")).reason == "DISABLED"
    # What there is can still be removed.
    assert await caller.invalidate() == 1


async def test_raising_the_epoch_makes_every_entry_unreachable(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server)
    caller = replica.caller()
    await caller.store("q", b"old")
    token = await caller.lead("under way")
    mesh.declare("acme", epoch=1)

    async def unreachable() -> bool:
        return await caller.body_of("q") is None

    await eventually(unreachable)
    assert (await caller.stats()).epoch == 1
    # What was asked in the old epoch is not stored in the new one.
    assert (await caller.store("under way", token=token)).reason == "LEASE_LOST"
    await caller.store("q", b"new")
    assert await caller.body_of("q") == b"new"
    # Both take room until their time is over, and both go.
    assert (await caller.stats()).entries == 2
    assert await caller.invalidate() == 2


async def corrupt(redis: RedisServer, key: str, change: Callable[[bytes], bytes]) -> None:
    with redis.client() as client:
        value = client.get(key)
        assert isinstance(value, bytes)
        client.set(key, change(value), keepttl=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: b"",
        lambda value: b"garbage",
        lambda value: value[:-1],
        lambda value: value[:-1] + bytes([value[-1] ^ 1]),
        lambda value: b"\xff" * 16 + value[16:],
        lambda value: value[:16] + b"\x07" + value[17:],
    ],
    ids=["empty", "garbage", "cut short", "one bit", "stamp", "other format"],
)
async def test_a_corrupt_entry_is_a_miss_and_is_removed(
    replica: Replica,
    redis_server: RedisServer,
    slot_of: Callable[..., Slot],
    change: Callable[[bytes], bytes],
) -> None:
    caller = replica.caller()
    await caller.store("q", tags=("t",))
    await corrupt(redis_server, slot_of("q").entry_key, change)
    leads = await caller.lookup("q", single_flight=True)
    assert leads.WhichOneof("outcome") == "lease"
    assert (await caller.stats()).entries == 0
    assert await replica.metric("infermesh_cache_corrupt_entries_total", tenant="acme") == 1
    assert (await caller.store("q", b"new", token=leads.lease.token)).version == 1
    assert await caller.body_of("q") == b"new"


async def test_an_entry_under_another_key_is_not_an_answer(
    replica: Replica, redis_server: RedisServer, slot_of: Callable[..., Slot]
) -> None:
    acme, globex = replica.caller("acme"), replica.caller("globex")
    await acme.store("q")
    with redis_server.client() as client:
        value = client.get(slot_of("q").entry_key)
        assert isinstance(value, bytes)
        client.set(slot_of("other").entry_key, value)
        client.set(slot_of("q", "globex").entry_key, value)
    assert await acme.body_of("other") is None
    assert await globex.body_of("q") is None
    assert await acme.body_of("q") == b"42"


async def test_lookups_and_stores_are_counted(replica: Replica) -> None:
    caller = replica.caller()
    await caller.lookup("q")
    await caller.lead("q")
    await caller.store("q")
    await caller.lookup("q")
    for outcome in ("not_found", "lease", "hit"):
        counted = await replica.metric(
            "infermesh_cache_lookups_total", tenant="acme", outcome=outcome
        )
        assert counted == 1, outcome
    assert (
        await replica.metric("infermesh_cache_stores_total", tenant="acme", outcome="stored") == 1
    )


async def expect_refusal(
    caller: Caller, reason: str, reason_of: Callable[[grpc.aio.AioRpcError], str]
) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await caller.lookup("q")
    assert reason_of(refusal.value) == reason
    return refusal.value.code()


async def test_a_caller_without_a_declared_tenant_is_refused(
    mesh: Mesh, replica: Replica, reason_of: Callable[[grpc.aio.AioRpcError], str]
) -> None:
    service = replica.caller()
    for tenant, reason, code in (
        ("", "TENANT_REQUIRED", grpc.StatusCode.FAILED_PRECONDITION),
        ("acme:cache", "TENANT_INVALID", grpc.StatusCode.INVALID_ARGUMENT),
        ("unheard-of", "TENANT_UNKNOWN", grpc.StatusCode.FAILED_PRECONDITION),
    ):
        service.metadata = ((INTERNAL_TOKEN_HEADER, INTERNAL_TOKEN), (TENANT_HEADER, tenant))
        assert await expect_refusal(service, reason, reason_of) is code
    service.metadata = ((INTERNAL_TOKEN_HEADER, INTERNAL_TOKEN), (TENANT_HEADER, "acme"))
    assert (await service.lookup("q")).HasField("miss")
