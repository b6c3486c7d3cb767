"""Many operations over one stream are answered as the RPCs would answer them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from infermesh.cache.v1 import cache_pb2
from infermesh_common.errors import from_status
from infermesh_common.identity.model import Role
from infermesh_common.testing.servers import RedisServer
from infermesh_common.testing.settings import INTERNAL_TOKEN

if TYPE_CHECKING:
    from services.cache.tests.conftest import Mesh, Replica

METADATA = (("x-infermesh-internal-token", INTERNAL_TOKEN),)
FINGERPRINT = b"q" * 32


def lookup(number: int, tenant: str = "acme", **values: object) -> cache_pb2.Operation:
    request = cache_pb2.LookupRequest(fingerprint=FINGERPRINT, **values)
    return cache_pb2.Operation(id=number, tenant=tenant, lookup=request)


def store(number: int, tenant: str = "acme", token: str = "") -> cache_pb2.Operation:
    request = cache_pb2.StoreRequest(
        fingerprint=FINGERPRINT, lease_token=token, entry=cache_pb2.Entry(body=b"42", model="small")
    )
    request.ttl.FromSeconds(60)
    return cache_pb2.Operation(id=number, tenant=tenant, store=request)


class Talk:
    """A stream of a service."""

    def __init__(self, replica: Replica) -> None:
        self.call = replica.caller().stub.Exchange(metadata=METADATA, timeout=60)
        self._waiting: dict[int, cache_pb2.Outcome] = {}

    async def ask(self, *operations: cache_pb2.Operation) -> list[cache_pb2.Outcome]:
        """Outcomes of `operations`, sent in one message, in their order."""
        await self.call.write(cache_pb2.ExchangeRequest(operations=operations))
        return [await self.outcome(operation.id) for operation in operations]

    async def outcome(self, number: int) -> cache_pb2.Outcome:
        while number not in self._waiting:
            response = await self.call.read()
            assert isinstance(response, cache_pb2.ExchangeResponse), "the stream has ended"
            self._waiting |= {outcome.id: outcome for outcome in response.outcomes}
        return self._waiting.pop(number)


async def test_operations_have_the_outcomes_of_their_rpcs(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server)
    talk = Talk(replica)
    (leads,) = await talk.ask(lookup(1, single_flight=True))
    token = leads.lookup.lease.token
    renew = cache_pb2.RenewLeaseRequest(fingerprint=FINGERPRINT, lease_token=token)
    (renewed,) = await talk.ask(cache_pb2.Operation(id=2, tenant="acme", renew_lease=renew))
    assert renewed.renew_lease.held
    (stored,) = await talk.ask(store(3, token=token))
    assert stored.store.stored and stored.store.version == 1
    release = cache_pb2.ReleaseLeaseRequest(fingerprint=FINGERPRINT, lease_token=token)
    (released,) = await talk.ask(cache_pb2.Operation(id=4, tenant="acme", release_lease=release))
    assert released.HasField("release_lease")
    (hit,) = await talk.ask(lookup(5))
    assert hit.lookup.hit.body == b"42"
    assert (await replica.caller("acme").lookup(FINGERPRINT)).hit.body == b"42"


async def test_tenants_on_one_stream_share_nothing(mesh: Mesh, redis_server: RedisServer) -> None:
    talk = Talk(await mesh.start(redis_server))
    await talk.ask(store(1, "acme"))
    mine, theirs = await talk.ask(lookup(2, "acme"), lookup(3, "globex"))
    assert mine.lookup.HasField("hit") and theirs.lookup.HasField("miss")


async def test_a_bad_operation_fails_alone(mesh: Mesh, redis_server: RedisServer) -> None:
    talk = Talk(await mesh.start(redis_server))
    short = cache_pb2.Operation(id=1, tenant="acme")
    short.lookup.fingerprint = b"short"
    bad = [short, cache_pb2.Operation(id=2, tenant="acme"), lookup(3, ""), lookup(4, "nobody")]
    *failed, good = await talk.ask(*bad, lookup(5))
    codes = [from_status(outcome.error).status_code for outcome in failed]
    assert codes[:2] == [grpc.StatusCode.INVALID_ARGUMENT] * 2
    assert codes[2:] == [grpc.StatusCode.FAILED_PRECONDITION] * 2
    assert good.lookup.HasField("miss")


async def test_one_that_waits_holds_nobody_up_and_has_its_own_deadline(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    talk = Talk(await mesh.start(redis_server))
    (leads,) = await talk.ask(lookup(1, single_flight=True))
    waits = lookup(2, single_flight=True)
    waits.lookup.wait.FromSeconds(50)
    impatient = lookup(3, single_flight=True)
    impatient.lookup.wait.FromSeconds(50)
    impatient.timeout.FromMilliseconds(50)
    await talk.call.write(cache_pb2.ExchangeRequest(operations=[waits, impatient]))
    late = from_status((await talk.outcome(3)).error)
    assert late.status_code is grpc.StatusCode.DEADLINE_EXCEEDED
    await talk.ask(store(4, token=leads.lookup.lease.token))
    shared = await talk.outcome(2)
    assert shared.lookup.hit.body == b"42" and shared.lookup.shared


async def test_a_stream_that_its_caller_ends_still_answers_what_is_under_way(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    talk = Talk(await mesh.start(redis_server))
    await talk.call.write(cache_pb2.ExchangeRequest(operations=[store(1), lookup(2)]))
    await talk.call.done_writing()
    assert (await talk.outcome(1)).store.stored
    assert (await talk.outcome(2)).HasField("lookup")
    assert await talk.call.read() is grpc.aio.EOF
    assert await talk.call.code() is grpc.StatusCode.OK


async def test_a_caller_that_goes_away_leaves_no_task_behind(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server)
    before = len(asyncio.all_tasks())
    talk = Talk(replica)
    await talk.ask(lookup(1, single_flight=True))
    waits = lookup(2, single_flight=True)
    waits.lookup.wait.FromSeconds(50)
    await talk.call.write(cache_pb2.ExchangeRequest(operations=[waits]))
    talk.call.cancel()
    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0)


async def test_only_services_of_the_mesh_may_exchange(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server)
    for role in (Role.MEMBER, Role.ADMIN):
        caller = replica.caller("acme", role)
        call = caller.stub.Exchange(metadata=caller.metadata, timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
