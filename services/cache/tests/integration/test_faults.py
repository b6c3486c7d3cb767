"""Redis down, paused and back: the cache fails fast, and works again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from infermesh_cache.domain.keys import Slot
from infermesh_common.testing.servers import RedisServer, eventually

if TYPE_CHECKING:
    from services.cache.tests.conftest import Mesh

Reason = Callable[[grpc.aio.AioRpcError], str]
FAILURES = {"REDIS_TIMEOUT", "REDIS_UNAVAILABLE", "REDIS_CIRCUIT_OPEN"}
CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
TIMEOUT_MS = 500
BREAKER = {"open_ms": 200}
FLIGHTS = {"lease_ttl_ms": 600_000, "poll_ms": 200}


async def failure(work: Callable[[], object], reason_of: Reason) -> str:
    """Reason by which a call fails; empty when it does not."""
    try:
        call = work()
        assert asyncio.iscoroutine(call)
        await call
    except grpc.aio.AioRpcError as error:
        assert error.code() in CODES
        return reason_of(error)
    return ""


async def test_a_paused_redis_fails_lookups_within_their_timeout_and_the_breaker_closes_again(
    mesh: Mesh, own_redis: RedisServer, reason_of: Reason
) -> None:
    replica = await mesh.start(own_redis, timeout_ms=TIMEOUT_MS, breaker=BREAKER)
    caller = replica.caller()

    async def answers() -> bool:
        return await failure(lambda: caller.store("q"), reason_of) == ""

    await eventually(answers)
    own_redis.pause()
    reasons: set[str] = set()

    async def breaker_opened() -> bool:
        # Its own time-out ends it, long before the caller's deadline of a minute.
        reasons.add(await failure(lambda: caller.lookup("q"), reason_of))
        return "REDIS_CIRCUIT_OPEN" in reasons

    await eventually(breaker_opened)
    assert "REDIS_TIMEOUT" in reasons and reasons <= FAILURES
    assert await replica.metric("infermesh_breaker_state", dependency="redis") >= 1
    own_redis.resume()

    async def found_again() -> bool:
        return await failure(lambda: caller.body_of("q"), reason_of) == ""

    await eventually(found_again)
    assert await caller.body_of("q") == b"42"
    assert await replica.metric("infermesh_breaker_state", dependency="redis") == 0


async def test_every_operation_fails_fast_when_redis_is_down(
    mesh: Mesh, own_redis: RedisServer, reason_of: Reason
) -> None:
    replica = await mesh.start(own_redis, timeout_ms=TIMEOUT_MS, breaker=BREAKER)
    caller = replica.caller()
    own_redis.stop()
    operations: list[Callable[[], object]] = [
        lambda: caller.lookup("q", single_flight=True, wait_s=50),
        lambda: caller.store("q"),
        lambda: caller.renew("q", "token"),
        lambda: caller.release("q", "token"),
        lambda: caller.invalidate(),
        lambda: caller.invalidate("fingerprint", "q"),
        lambda: caller.invalidate("tag", "t", dry_run=True),
        lambda: caller.stats(),
    ]
    for operation in operations:
        assert await failure(operation, reason_of) in FAILURES
    own_redis.start()

    async def works_again() -> bool:
        return {await failure(operation, reason_of) for operation in operations} == {""}

    await eventually(works_again)


@pytest.mark.parametrize("fault", ["paused", "stopped"])
async def test_those_who_wait_are_released_when_redis_goes(
    mesh: Mesh,
    own_redis: RedisServer,
    reason_of: Reason,
    slot_of: Callable[..., Slot],
    fault: str,
) -> None:
    replica = await mesh.start(own_redis, flights=FLIGHTS, timeout_ms=2_000, breaker=BREAKER)
    caller = replica.caller()
    with own_redis.client() as client:
        client.set(slot_of("q").lease_key, "0:somebody else's")
    waiting = [
        asyncio.create_task(caller.lookup("q", single_flight=True, wait_s=50)) for _ in range(5)
    ]

    async def all_wait() -> bool:
        return await replica.in_flight() == 5

    await eventually(all_wait)
    if fault == "paused":
        own_redis.pause()
    else:
        own_redis.stop()
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, grpc.aio.AioRpcError)
        assert reason_of(error) in FAILURES
    if fault == "paused":
        own_redis.resume()


async def test_announcements_are_heard_again_after_redis_came_back(
    mesh: Mesh, own_redis: RedisServer, reason_of: Reason
) -> None:
    flights = {"lease_ttl_ms": 600_000, "poll_ms": 600_000}
    replica = await mesh.start(own_redis, flights=flights, breaker={"open_ms": 100})
    caller = replica.caller()
    own_redis.stop()
    own_redis.start()
    with own_redis.client() as client:
        await eventually(lambda: bool(client.pubsub_numsub("-:cache:flights")[0][1] == 1))
    tokens: list[str] = []

    async def led() -> bool:
        async def lead() -> None:
            tokens.append(await caller.lead("q"))

        return await failure(lead, reason_of) == ""

    await eventually(led)
    waiting = asyncio.create_task(caller.lookup("q", single_flight=True, wait_s=50))

    async def it_waits() -> bool:
        return await replica.in_flight() == 1

    await eventually(it_waits)
    await caller.store("q", token=tokens[-1])
    assert (await waiting).shared


async def test_a_full_redis_still_serves_what_it_has(
    mesh: Mesh, own_redis: RedisServer, reason_of: Reason
) -> None:
    replica = await mesh.start(own_redis, entries={"uses_interval_ms": 50})
    caller = replica.caller()
    await caller.store("q")
    with own_redis.client() as client:
        client.config_set("maxmemory", 1)
        assert await failure(lambda: caller.store("other"), reason_of) == "REDIS_UNAVAILABLE"
        assert await caller.body_of("q") == b"42"
        client.config_set("maxmemory", 0)
    assert (await caller.stats()).entries == 1


async def test_a_service_without_redis_is_not_ready_and_gets_ready_with_it(
    mesh: Mesh, own_redis: RedisServer
) -> None:
    own_redis.stop()
    replica = await mesh.start(own_redis, timeout_ms=TIMEOUT_MS, breaker=BREAKER)
    health = health_pb2_grpc.HealthStub(replica.channel)

    async def status(service: str) -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        return int((await health.Check(request)).status)

    serving = int(health_pb2.HealthCheckResponse.SERVING)

    async def ready() -> bool:
        return await status("readiness") == serving

    assert not await ready()
    assert await status("liveness") == serving
    own_redis.start()
    await eventually(ready)


async def test_a_flight_survives_the_replica_that_led_it_into_redis(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    stays = await mesh.start(redis_server)
    async with mesh.running(redis_server) as ends:
        token = await ends.caller().lead("q")
    assert (await stays.caller().store("q", token=token)).stored
