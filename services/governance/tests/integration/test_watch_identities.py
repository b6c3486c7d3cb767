"""WatchIdentities over gRPC, on a real Redis."""

import asyncio
import time
import uuid
from functools import partial

import grpc
import pytest
from google.protobuf import timestamp_pb2

from infermesh.governance.v1 import identity_pb2, keys_pb2
from infermesh_common.errors import Unauthenticated, from_rpc_error
from infermesh_common.testing.identity import bearer
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_governance.testing import INTERNAL, Deployment, Replica, accepts

Message = identity_pb2.WatchIdentitiesResponse


class Stream:
    """One open watch."""

    def __init__(self, replica: Replica) -> None:
        self._call = replica.identities.WatchIdentities(
            identity_pb2.WatchIdentitiesRequest(watcher="test"), metadata=INTERNAL
        )

    async def read(self) -> Message:
        """The next message."""
        async with asyncio.timeout(20):
            message = await self._call.read()
        assert isinstance(message, Message)
        return message

    async def snapshot(self) -> Message:
        """The next message with a snapshot."""
        while not (message := await self.read()).HasField("snapshot"):
            pass
        return message

    def close(self) -> None:
        """Ends the watch."""
        self._call.cancel()


async def test_only_a_service_may_watch(mesh: Deployment, redis_server: RedisServer) -> None:
    replica = await mesh.ready(redis_server)
    request = identity_pb2.WatchIdentitiesRequest()
    for metadata, reason in (
        (bearer(mesh.operator_key), "ROLE_REQUIRED"),
        ((("x-infermesh-internal-token", "wrong"),), "INVALID_INTERNAL_TOKEN"),
        ((), "API_KEY_MISSING"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await replica.identities.WatchIdentities(request, metadata=metadata, timeout=20).read()
        assert from_rpc_error(refused.value).reason == reason


async def test_a_watch_begins_with_everything_and_goes_on_with_heartbeats(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    mesh.declare("Tenant", "globex", {"suspended": True})
    replica = await mesh.ready(redis_server, heartbeat_ms=20)
    await replica.create(mesh.operator_key, "acme")
    stream = Stream(replica)
    first = await stream.read()

    assert len(first.snapshot.keys) == 2
    assert all(len(key.secret_sha256) == 32 for key in first.snapshot.keys)
    assert {t.tenant: t.suspended for t in first.snapshot.tenants} == {
        "acme": False,
        "globex": True,
    }
    for _ in range(3):
        heartbeat = await stream.read()
        assert not heartbeat.HasField("snapshot")
        assert heartbeat.version == first.version
        assert heartbeat.HasField("staleness")
    stream.close()


async def test_versions_grow_with_keys_with_resources_and_over_a_restart(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    replica = await mesh.ready(redis_server)
    stream = Stream(replica)
    versions = [(await stream.snapshot()).version]
    key = await replica.create(mesh.operator_key, "acme")
    versions.append((await stream.snapshot()).version)
    await replica.revoke(mesh.operator_key, key)
    versions.append((await stream.snapshot()).version)
    mesh.declare("Tenant", "initech", {})
    versions.append((await stream.snapshot()).version)
    stream.close()
    await replica.server.stop()
    restarted = Stream(await mesh.ready(redis_server))
    versions.append((await restarted.snapshot()).version)
    restarted.close()

    assert versions == sorted(set(versions))


async def test_a_dead_key_stays_listed_so_that_its_bearer_is_told(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    replica = await mesh.ready(redis_server)
    directory = await mesh.watch(replica)
    revoked = await replica.create(mesh.operator_key, "acme")
    await replica.revoke(mesh.operator_key, revoked)
    soon = timestamp_pb2.Timestamp()
    soon.FromMicroseconds(int((time.time() + 1) * 1e6))
    expiring = await replica.keys.CreateKey(
        keys_pb2.CreateKeyRequest(request_id=str(uuid.uuid4()), tenant="acme", expire_time=soon),
        metadata=bearer(mesh.operator_key),
        timeout=20,
    )

    def reason(api_key: str) -> str:
        try:
            directory.authenticate(dict(bearer(api_key)))
        except Unauthenticated as error:
            return error.reason
        return ""

    await eventually(lambda: reason(revoked) == "API_KEY_REVOKED")
    await eventually(lambda: reason(expiring.secret) == "API_KEY_EXPIRED")


async def test_a_key_dead_for_long_enough_is_forgotten_everywhere(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    forgetful = await mesh.ready(redis_server, forget_after_s=1, poll_ms=50)
    key = await forgetful.create(mesh.operator_key, "acme")
    kept = await forgetful.create(mesh.operator_key, "acme")
    await forgetful.revoke(mesh.operator_key, key)

    with redis_server.client() as redis:

        def forgotten() -> bool:
            return int(redis.zcard("-:governance:index")) == 1

        await eventually(forgotten)
        assert not redis.exists(f"acme:governance:key:{key.split('_')[1]}")
    stream = Stream(forgetful)
    assert {record.key_id for record in (await stream.read()).snapshot.keys} == {
        kept.split("_")[1],
        mesh.operator_key.split("_")[1],
    }
    stream.close()


async def test_a_suspended_tenant_is_refused_and_let_in_again(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    replica = await mesh.ready(redis_server)
    directory = await mesh.watch(replica)
    key = await replica.create(mesh.operator_key, "acme")
    await eventually(lambda: accepts(directory, key))
    mesh.declare("Tenant", "acme", {"suspended": True})
    await eventually(lambda: not accepts(directory, key))
    mesh.declare("Tenant", "acme", {"suspended": False})
    await eventually(lambda: accepts(directory, key))


async def test_a_watcher_that_does_not_read_holds_up_nobody(
    mesh: Deployment, redis_server: RedisServer
) -> None:
    replica = await mesh.ready(redis_server, heartbeat_ms=10)
    # Opened and never read: gRPC's flow control stops its stream after a window of messages.
    idle = [Stream(replica) for _ in range(3)]
    directory = await mesh.watch(replica)
    for _ in range(5):
        await eventually(
            partial(accepts, directory, await replica.create(mesh.operator_key, "acme"))
        )
    for stream in idle:
        stream.close()


async def test_keys_and_watchers_are_measured(mesh: Deployment, redis_server: RedisServer) -> None:
    replica = await mesh.ready(redis_server)
    await replica.create(mesh.operator_key, "acme")
    await replica.revoke(mesh.operator_key, await replica.create(mesh.operator_key, "acme"))
    stream = Stream(replica)
    await stream.read()

    metrics = await replica.exposed()
    assert metrics['infermesh_keys{state="active"}'] == 2
    assert metrics['infermesh_keys{state="revoked"}'] == 1
    assert metrics['infermesh_keys{state="expired"}'] == 0
    assert metrics["infermesh_identity_watchers"] == 1
    stream.close()

    async def nobody_watches() -> bool:
        return (await replica.exposed())["infermesh_identity_watchers"] == 0

    await eventually(nobody_watches)
