"""One flight for identical requests, across requests and replicas."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
import pytest

from infermesh.cache.v1 import cache_pb2
from infermesh_cache.domain.keys import Slot
from infermesh_common.testing.servers import RedisServer, eventually

if TYPE_CHECKING:
    from services.cache.tests.conftest import Caller, Mesh, Replica

WAIT_S = 50.0
# Nothing but announcements wakes who waits.
ANNOUNCED = {"lease_ttl_ms": 600_000, "poll_ms": 600_000}
Waiting = asyncio.Task[cache_pb2.LookupResponse]


def waits(caller: Caller, question: str, max_age_s: float | None = None) -> Waiting:
    """A request that joins the flight."""
    return asyncio.create_task(
        caller.lookup(question, single_flight=True, wait_s=WAIT_S, max_age_s=max_age_s)
    )


async def all_wait(replica: Replica, count: int) -> None:
    """Until `count` calls have been under way for a while: one that has just begun has not looked
    into Redis yet."""
    seen = 0

    async def waiting() -> bool:
        nonlocal seen
        seen = seen + 1 if await replica.in_flight() == count else 0
        return seen >= 10

    await eventually(waiting)


def kind(response: cache_pb2.LookupResponse) -> str:
    return response.WhichOneof("outcome") or ""


async def test_n_identical_concurrent_lookups_get_one_lease(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, flights=ANNOUNCED)
    caller = replica.caller()
    tasks = [waits(caller, "q") for _ in range(40)]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    (lease,) = [task.result().lease for task in done]
    await all_wait(replica, 39)
    assert (await caller.store("q", b"shared", token=lease.token)).stored
    answers = await asyncio.gather(*waiting)
    assert Counter((kind(a), a.shared, a.hit.body) for a in answers) == {
        ("hit", True, b"shared"): 39
    }
    assert await replica.metric("infermesh_cache_lookups_total", outcome="lease") == 1
    assert await replica.metric("infermesh_cache_lookups_total", outcome="shared") == 39


async def test_two_replicas_share_a_flight(mesh: Mesh, redis_server: RedisServer) -> None:
    leads, follows = [await mesh.start(redis_server, flights=ANNOUNCED) for _ in range(2)]
    leader, follower = leads.caller(), follows.caller()
    token = await leader.lead("q")
    tasks = [waits(follower, "q") for _ in range(3)]
    await all_wait(follows, 3)
    await leader.store("q", b"made once", token=token)
    for response in await asyncio.gather(*tasks):
        assert (kind(response), response.shared, response.hit.body) == ("hit", True, b"made once")


async def test_a_leaders_failure_is_not_shared_as_an_answer(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, flights=ANNOUNCED)
    caller = replica.caller()
    token = await caller.lead("q")
    tasks = [waits(caller, "q") for _ in range(5)]
    await all_wait(replica, 5)
    led = 0
    waiting = set(tasks)
    while waiting:
        await caller.release("q", token)
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        # Exactly one leads next; the others wait on.
        (response,) = [task.result() for task in done]
        assert kind(response) == "lease"
        assert response.lease.token != token
        token = response.lease.token
        led += 1
        await all_wait(replica, len(waiting))
    assert led == 5


async def test_a_dead_leader_is_replaced_when_its_lease_expires(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, flights={"lease_ttl_ms": 200, "poll_ms": 600_000})
    caller = replica.caller()
    dead = await caller.lead("q")
    response = await waits(caller, "q")
    assert kind(response) == "lease"
    # The one that was taken for dead comes back too late.
    assert (await caller.store("q", token=dead)).reason == "LEASE_LOST"
    assert not await caller.renew("q", dead)
    assert await caller.body_of("q") is None


async def test_a_renewed_lease_gets_its_whole_time_again(
    mesh: Mesh, redis_server: RedisServer, slot_of: Callable[..., Slot]
) -> None:
    replica = await mesh.start(redis_server, flights=ANNOUNCED)
    caller = replica.caller()
    leading = await caller.lookup("q", single_flight=True)
    assert leading.lease.ttl.ToMilliseconds() == 600_000
    with redis_server.client() as client:
        client.pexpire(slot_of("q").lease_key, 300_000)  # half of it has passed
        assert await caller.renew("q", leading.lease.token)
        assert client.pttl(slot_of("q").lease_key) > 400_000


async def test_only_the_holder_releases_and_releasing_twice_is_harmless(
    replica: Replica,
) -> None:
    caller = replica.caller()
    token = await caller.lead("q")
    await caller.release("q", "somebody else's")
    assert await caller.renew("q", token)
    await caller.release("q", token)
    await caller.release("q", token)
    successor = await caller.lead("q")
    await caller.release("q", token)
    assert await caller.renew("q", successor)


async def test_waiting_ends_when_its_time_is_over(replica: Replica) -> None:
    caller = replica.caller()
    token = await caller.lead("q")
    for wait_s in (0, 0.05):
        response = await caller.lookup("q", single_flight=True, wait_s=wait_s)
        assert response.miss.reason == "WAIT_TIMED_OUT"
    assert (await caller.store("q", token=token)).stored


async def test_the_policy_bounds_the_waiting(mesh: Mesh, redis_server: RedisServer) -> None:
    mesh.declare("acme", singleFlightWaitMs=50)
    mesh.declare("globex", singleFlight=False)
    replica = await mesh.start(redis_server)
    acme, globex = replica.caller("acme"), replica.caller("globex")
    await acme.lead("q")
    assert (await waits(acme, "q")).miss.reason == "WAIT_TIMED_OUT"
    for _ in range(2):
        assert (await waits(globex, "q")).miss.reason == "NOT_FOUND"


async def test_waiting_never_outlasts_the_deadline(replica: Replica) -> None:
    caller = replica.caller()
    await caller.lead("q")
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await caller.lookup("q", single_flight=True, wait_s=WAIT_S, deadline_s=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async def nobody_waits() -> bool:
        return await replica.in_flight() == 0

    await eventually(nobody_waits)


async def test_a_lookup_that_does_not_join_neither_waits_nor_leads(replica: Replica) -> None:
    caller = replica.caller()
    token = await caller.lead("q")
    assert (await caller.lookup("q", wait_s=WAIT_S)).miss.reason == "NOT_FOUND"
    await caller.release("q", token)
    assert (await caller.lookup("q", wait_s=WAIT_S)).miss.reason == "NOT_FOUND"
    await caller.lead("q")


async def test_who_wants_a_fresh_answer_shares_one_made_meanwhile(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, flights=ANNOUNCED)
    caller = replica.caller()
    await caller.store("q", b"stale")
    leading = await caller.lookup("q", single_flight=True, max_age_s=0)
    assert kind(leading) == "lease"
    tasks = [waits(caller, "q", max_age_s=0) for _ in range(3)]
    await all_wait(replica, 3)
    # Who accepts any age does not wait for the refresh.
    assert (await waits(caller, "q")).hit.body == b"stale"
    assert (await caller.store("q", b"fresh", token=leading.lease.token)).version == 2
    for response in await asyncio.gather(*tasks):
        assert (response.hit.body, response.shared) == (b"fresh", True)


async def test_a_store_without_a_lease_also_answers_those_who_wait(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, flights=ANNOUNCED)
    caller = replica.caller()
    token = await caller.lead("q")
    waiting = waits(caller, "q")
    await all_wait(replica, 1)
    assert (await caller.store("q", b"refreshed")).stored
    assert (await waiting).hit.body == b"refreshed"
    # The leader has lost nothing.
    assert (await caller.store("q", b"led", token=token)).version == 2


async def test_an_announcement_that_is_lost_delays_and_no_more(
    mesh: Mesh, redis_server: RedisServer, slot_of: Callable[..., Slot]
) -> None:
    replica = await mesh.start(redis_server, flights={"lease_ttl_ms": 600_000, "poll_ms": 50})
    caller = replica.caller()
    await caller.lead("q")
    waiting = waits(caller, "q")
    await all_wait(replica, 1)
    with redis_server.client() as client:
        client.delete(slot_of("q").lease_key)  # announced by nobody
    assert kind(await waiting) == "lease"


async def test_a_broken_subscription_is_made_again(mesh: Mesh, redis_server: RedisServer) -> None:
    replica = await mesh.start(redis_server, flights=ANNOUNCED)
    caller = replica.caller()
    token = await caller.lead("q")
    waiting = waits(caller, "q")
    await all_wait(replica, 1)
    with redis_server.client() as client:

        def subscribed() -> bool:
            return bool(client.pubsub_numsub("-:cache:flights")[0][1] == 1)

        await eventually(subscribed)
        assert client.client_kill_filter(_type="pubsub") == 1
        await eventually(subscribed)
    await caller.store("q", token=token)
    assert (await waiting).shared


async def test_a_caller_that_gives_up_leaves_the_flight_to_others(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, flights=ANNOUNCED)
    caller = replica.caller()
    token = await caller.lead("q")
    gives_up, stays = waits(caller, "q"), waits(caller, "q")
    await all_wait(replica, 2)
    gives_up.cancel()
    await all_wait(replica, 1)
    await caller.release("q", token)
    assert kind(await stays) == "lease"
