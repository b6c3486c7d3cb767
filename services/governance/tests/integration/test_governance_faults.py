"""What holds when Redis, a replica or a watcher fails."""

import asyncio
import random
from functools import partial

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from infermesh.common.v1 import page_pb2
from infermesh.governance.v1 import identity_pb2, keys_pb2
from infermesh_common.errors import Unavailable, from_rpc_error
from infermesh_common.testing.identity import bearer
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_governance.testing import INTERNAL, Deployment, Replica, accepts


def _watch(
    replica: Replica,
) -> grpc.aio.UnaryStreamCall[
    identity_pb2.WatchIdentitiesRequest, identity_pb2.WatchIdentitiesResponse
]:
    return replica.identities.WatchIdentities(
        identity_pb2.WatchIdentitiesRequest(watcher="test"), metadata=INTERNAL
    )


async def _read(
    call: grpc.aio.UnaryStreamCall[
        identity_pb2.WatchIdentitiesRequest, identity_pb2.WatchIdentitiesResponse
    ],
) -> identity_pb2.WatchIdentitiesResponse:
    async with asyncio.timeout(20):
        message = await call.read()
    assert isinstance(message, identity_pb2.WatchIdentitiesResponse)
    return message


async def _key_ids(replica: Replica, caller: str) -> set[str]:
    request = keys_pb2.ListKeysRequest(page=page_pb2.PageRequest(page_size=1000))
    response = await replica.keys.ListKeys(request, metadata=bearer(caller), timeout=20)
    return {key.key_id for key in response.keys}


async def _reachable(replica: Replica, caller: str) -> bool:
    try:
        await _key_ids(replica, caller)
    except grpc.aio.AioRpcError:
        return False
    return True


async def _health(replica: Replica, service: str) -> str:
    stub = health_pb2_grpc.HealthStub(replica.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


# Each of the two ways in which a replica learns of a change has to do alone.
@pytest.mark.parametrize(("announced", "poll_ms"), [(True, 600_000), (False, 500)])
async def test_a_revoked_key_stops_working_within_two_seconds_on_every_replica(
    mesh: Deployment, redis_server: RedisServer, announced: bool, poll_ms: int
) -> None:
    replicas = [await mesh.ready(redis_server, poll_ms=poll_ms) for _ in range(2)]
    services = [await mesh.watch(replica) for replica in replicas]
    key = await replicas[0].create(mesh.operator_key, "acme")
    for service in services:
        await eventually(partial(accepts, service, key))
    await eventually(lambda: replicas[1].admits(key))

    if not announced:
        with redis_server.client() as redis:
            redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await replicas[1].revoke(mesh.operator_key, key)

    # The bound that the product states, from the answer to RevokeKey on.
    await eventually(
        lambda: not any(accepts(service, key) for service in services),
        within_s=2,
        what="no service accepts the revoked key",
    )
    for replica in replicas:
        assert not await replica.admits(key)


async def test_concurrent_creates_lose_nothing(mesh: Deployment, redis_server: RedisServer) -> None:
    replicas = [await mesh.ready(redis_server) for _ in range(2)]
    services = [await mesh.watch(replica) for replica in replicas]
    made = await asyncio.gather(
        *(
            replicas[n % 2].create(mesh.operator_key, ("acme", "globex")[n % 3 % 2])
            for n in range(40)
        )
    )

    expected = {key.split("_")[1] for key in (*made, mesh.operator_key)}
    assert len(expected) == 41
    for replica in replicas:
        assert await _key_ids(replica, mesh.operator_key) == expected
    for service in services:
        await eventually(lambda: all(accepts(service, key) for key in made))


async def test_concurrent_creates_and_revocations_end_alike_everywhere(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    replicas = [await mesh.ready(redis_server) for _ in range(2)]
    services = [await mesh.watch(replica) for replica in replicas]

    async def live(number: int) -> tuple[str, bool]:
        key = await replicas[number % 2].create(mesh.operator_key, "acme")
        if dies := chance.random() < 0.5:
            await chance.choice(replicas).revoke(mesh.operator_key, key)
        return key, dies

    fates = await asyncio.gather(*(live(number) for number in range(30)))
    for service in services:
        await eventually(lambda: all(accepts(service, key) != dead for key, dead in fates))


async def test_a_paused_redis_does_not_silence_the_watch(
    mesh: Deployment, own_redis: RedisServer
) -> None:
    replica = await mesh.ready(own_redis, heartbeat_ms=50, poll_ms=100)
    key = await replica.create(mesh.operator_key, "acme")
    service = await mesh.watch(replica)
    await eventually(partial(accepts, service, key))
    watch = _watch(replica)
    first = await _read(watch)
    own_redis.pause()

    # Heartbeats go on and say how old the snapshot is.
    while (message := await _read(watch)).staleness.ToMicroseconds() < 1_000_000:
        assert not message.HasField("snapshot")
        assert message.version == first.version
    # A new watcher is answered from memory.
    another = _watch(replica)
    from_memory = await _read(another)
    assert from_memory.snapshot == first.snapshot
    assert from_memory.staleness.ToMicroseconds() >= 1_000_000
    assert accepts(service, key)
    # Its own watch may have heard a heartbeat less.
    await eventually(lambda: service.age_s() >= 1)
    another.cancel()

    own_redis.resume()
    while (await _read(watch)).staleness.ToMicroseconds() >= 1_000_000:
        pass
    watch.cancel()


@pytest.mark.parametrize("fault", ["pause", "stop"])
async def test_managing_keys_fails_fast_while_redis_is_away(
    mesh: Deployment, own_redis: RedisServer, fault: str
) -> None:
    replica = await mesh.ready(own_redis, breaker={"open_ms": 100})
    key = await replica.create(mesh.operator_key, "acme")
    own_redis.pause() if fault == "pause" else own_redis.stop()

    # So many callers that they would run out of time if one operation timed out after another.
    request = keys_pb2.RevokeKeyRequest(key_id=key.split("_")[1])
    calls = [
        replica.keys.RevokeKey(request, metadata=bearer(mesh.operator_key), timeout=20)
        for _ in range(200)
    ]
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(answer, grpc.aio.AioRpcError)
        refused = from_rpc_error(answer)
        assert isinstance(refused, Unavailable)
        assert refused.reason == "KEY_STORE_UNAVAILABLE"
    with pytest.raises(Unavailable):
        await replica.create(mesh.operator_key, "acme")
    # Who may call is still known.
    assert await replica.admits(key)

    own_redis.resume() if fault == "pause" else own_redis.start()
    await eventually(lambda: _reachable(replica, mesh.operator_key))
    await replica.revoke(mesh.operator_key, key)
    assert not await replica.admits(key)


async def test_an_acknowledged_key_outlives_a_restart_of_redis_and_of_every_replica(
    mesh: Deployment, own_redis: RedisServer
) -> None:
    replica = await mesh.ready(own_redis)
    key = await replica.create(mesh.operator_key, "acme")
    dead = await replica.create(mesh.operator_key, "acme")
    await replica.revoke(mesh.operator_key, dead)
    await replica.server.stop()
    own_redis.stop()
    own_redis.start()

    replica = await mesh.ready(own_redis)
    assert await replica.admits(key)
    assert not await replica.admits(dead)


async def test_governance_starts_without_redis_and_is_ready_when_redis_comes(
    mesh: Deployment, own_redis: RedisServer
) -> None:
    own_redis.stop()
    replica = await mesh.start(own_redis)

    assert await _health(replica, "liveness") == "SERVING"
    assert await _health(replica, "readiness") == "NOT_SERVING"
    # No snapshot rather than one that lacks every issued key.
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _read(_watch(replica))
    assert from_rpc_error(refused.value).reason == "IDENTITIES_NOT_LOADED"
    assert not await replica.admits(mesh.operator_key)

    own_redis.start()

    async def ready() -> bool:
        return await _health(replica, "readiness") == "SERVING"

    await eventually(ready)
    assert await replica.admits(mesh.operator_key)


async def test_a_restarted_replica_without_redis_takes_no_key_from_its_watchers(
    mesh: Deployment, own_redis: RedisServer
) -> None:
    replica = await mesh.ready(own_redis)
    key = await replica.create(mesh.operator_key, "acme")
    service = await mesh.watch(replica)
    await eventually(partial(accepts, service, key))
    own_redis.stop()
    await replica.server.stop()
    address = f"127.0.0.1:{replica.server.port}"
    restarted = await mesh.start(own_redis, server={"listen_address": address})

    async def refused_the_watcher() -> bool:
        refused = {
            name: value
            for name, value in (await restarted.exposed()).items()
            if name.startswith("infermesh_rpc_requests_total{")
            and "WatchIdentities" in name
            and "UNAVAILABLE" in name
        }
        return sum(refused.values()) >= 1

    await eventually(refused_the_watcher)
    assert accepts(service, key)


async def test_an_emptied_redis_lets_no_lost_key_in(
    mesh: Deployment, own_redis: RedisServer
) -> None:
    replica = await mesh.ready(own_redis)
    service = await mesh.watch(replica)
    lost = await replica.create(mesh.operator_key, "acme")
    await eventually(partial(accepts, service, lost))
    with own_redis.client() as redis:
        redis.flushall()
    new = await replica.create(mesh.operator_key, "acme")

    await eventually(lambda: accepts(service, new) and not accepts(service, lost))


async def test_a_damaged_record_hurts_no_other_key(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    replica = await mesh.ready(redis_server)
    damaged = await replica.create(mesh.operator_key, "acme")
    missing = await replica.create(mesh.operator_key, "acme")
    good = await replica.create(mesh.operator_key, "acme")
    await replica.server.stop()
    with redis_server.client() as redis:
        redis.delete(f"acme:governance:key:{missing.split('_')[1]}")
        redis.hset(f"acme:governance:key:{damaged.split('_')[1]}", "role", "EMPEROR")

    replica = await mesh.ready(redis_server)
    assert await replica.admits(good)
    assert not await replica.admits(damaged)
    assert not await replica.admits(missing)


async def test_a_watcher_moves_on_when_its_replica_stops(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    replicas = [await mesh.ready(redis_server) for _ in range(2)]
    service = await mesh.watch(*replicas)
    followed = [(await replica.exposed())["infermesh_identity_watchers"] for replica in replicas]
    left = replicas[followed.index(1)]
    other = replicas[followed.index(0)]
    await left.server.stop()
    key = await other.create(mesh.operator_key, "acme")

    await eventually(partial(accepts, service, key))


async def test_a_stop_does_not_wait_for_watchers(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    # Far longer than the test may take: a stop that waited for the stream would not end in time.
    replica = await mesh.ready(redis_server, server={"stop_grace_ms": 600_000})
    watch = _watch(replica)
    await _read(watch)
    async with asyncio.timeout(30):
        await replica.server.stop()
