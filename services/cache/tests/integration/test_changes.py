"""Those who keep copies of entries learn what to forget, and invalidations wait for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from infermesh.cache.v1 import cache_pb2
from infermesh_cache.adapters.outbound.change_log import CHANGES_STREAM, RedisChangeLog
from infermesh_common.identity.model import Role
from infermesh_common.testing.servers import RedisServer
from infermesh_common.testing.settings import INTERNAL_TOKEN

if TYPE_CHECKING:
    from services.cache.tests.conftest import Mesh, Replica

DEADLINE_S = 60


async def poll(replica: Replica, cursor: str = "") -> cache_pb2.PollChangesResponse:
    stub = replica.caller().stub
    request = cache_pb2.PollChangesRequest(cursor=cursor)
    metadata = (("x-infermesh-internal-token", INTERNAL_TOKEN),)
    return await stub.PollChanges(request, metadata=metadata, timeout=DEADLINE_S)


async def test_the_first_poll_says_that_everything_may_have_changed(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    first = await poll(await mesh.start(redis_server))
    assert first.all and first.cursor and first.lease.ToMilliseconds() == 1


@pytest.mark.parametrize("scope", ["all", "fingerprint", "model", "tag"])
async def test_an_invalidation_is_told_once_by_every_replica(
    mesh: Mesh, redis_server: RedisServer, scope: str
) -> None:
    one, other = await mesh.start(redis_server), await mesh.start(redis_server)
    cursors = {replica: (await poll(replica)).cursor for replica in (one, other)}
    caller = one.caller("acme")
    await caller.store("q", tags=("t",))
    await caller.invalidate(scope, {"model": "small", "tag": "t"}.get(scope, "q"))
    for replica, cursor in cursors.items():
        told = await poll(replica, cursor)
        assert (list(told.tenants), told.all) == (["acme"], False)
        again = await poll(replica, told.cursor)
        assert (list(again.tenants), again.all, again.cursor) == ([], False, told.cursor)


async def test_a_dry_run_and_a_new_entry_change_nothing(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server)
    cursor = (await poll(replica)).cursor
    caller = replica.caller()
    await caller.store("q")
    assert await caller.invalidate("all", dry_run=True) == 1
    assert list((await poll(replica, cursor)).tenants) == []


async def test_a_replaced_entry_is_a_change(mesh: Mesh, redis_server: RedisServer) -> None:
    replica = await mesh.start(redis_server)
    cursor = (await poll(replica)).cursor
    caller = replica.caller("globex")
    await caller.store("q", b"old")
    await caller.store("q", b"new")
    assert list((await poll(replica, cursor)).tenants) == ["globex"]


async def test_a_hit_says_how_long_the_entry_lives(mesh: Mesh, redis_server: RedisServer) -> None:
    caller = (await mesh.start(redis_server)).caller()
    await caller.store("q", ttl_s=12.5)
    assert (await caller.lookup("q")).hit.ttl.ToMilliseconds() == 12_500


async def test_an_invalidation_returns_only_after_the_lease_of_copies(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, copies={"lease_ms": 400})
    cursor = (await poll(replica)).cursor
    caller = replica.caller()
    await caller.store("q")
    invalidation = asyncio.create_task(caller.invalidate())
    loop = asyncio.get_running_loop()
    while not (await poll(replica, cursor)).tenants:
        assert not invalidation.done()
    told_at = loop.time()
    await invalidation
    # The poll that told was sent a little after the change.
    assert loop.time() - told_at > 0.2


async def test_only_services_of_the_mesh_may_poll(mesh: Mesh, redis_server: RedisServer) -> None:
    replica = await mesh.start(redis_server)
    for role in (Role.MEMBER, Role.ADMIN):
        caller = replica.caller("acme", role)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.stub.PollChanges(
                cache_pb2.PollChangesRequest(), metadata=caller.metadata, timeout=DEADLINE_S
            )
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_cursor_that_no_response_gave_is_refused(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server)
    for cursor in ("x", "1", "1-", "(1-1", "9" * 21 + "-1"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await poll(replica, cursor)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_log_that_was_lost_or_is_too_long_to_tell_means_everything(
    change_log: RedisChangeLog, redis_server: RedisServer
) -> None:
    beginning = (await change_log.since("")).cursor
    for _ in range(1_000):
        await change_log.note("acme")
    far_behind = await change_log.since(beginning)
    assert far_behind.tenants is None
    assert (await change_log.since(far_behind.cursor)).tenants == frozenset()
    with redis_server.client() as client:
        client.delete(CHANGES_STREAM)
    assert (await change_log.since(far_behind.cursor)).tenants is None
