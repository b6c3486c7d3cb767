"""The service as a process of its own."""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from infermesh.governance.v1 import keys_pb2
from infermesh_common.testing.identity import bearer
from infermesh_common.testing.servers import RedisServer, eventually, free_port
from infermesh_governance.testing import INTERNAL, Deployment, Replica

_ROLES = (keys_pb2.ROLE_MEMBER, keys_pb2.ROLE_ADMIN)


@asynccontextmanager
async def _process(log: Path, config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "infermesh_governance",
            env=os.environ | {"INFERMESH_CONFIG": str(config)},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_secret_is_stored_and_logged_nowhere(
    mesh: Deployment, own_redis: RedisServer
) -> None:
    port, metrics_port = free_port(), free_port()
    mesh.settings(
        own_redis,
        server={
            "listen_address": f"127.0.0.1:{port}",
            "metrics_address": f"127.0.0.1:{metrics_port}",
        },
        telemetry={"log_level": "DEBUG"},
    )
    log = mesh.folder / "governance.log"
    async with (
        _process(log, mesh.folder / "governance.yaml") as process,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        replica = Replica(channel, f"127.0.0.1:{port}", metrics_port)
        await eventually(lambda: replica.admits(mesh.operator_key), within_s=60)
        keys = [await replica.create(mesh.operator_key, "acme", role) for role in _ROLES]
        await replica.admits(keys[0])
        await _misuse(replica, mesh.operator_key, keys[1])
        await replica.revoke(mesh.operator_key, keys[0])
        await replica.admits(keys[0])
        own_redis.pause()
        await _misuse(replica, mesh.operator_key, keys[1])
        own_redis.resume()
        metrics = str(await replica.exposed())
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0

    places = {"log": log.read_bytes(), "metrics": metrics.encode()}
    own_redis.stop()
    for file in own_redis.folder.iterdir():
        places[f"redis {file.name}"] = file.read_bytes()
    # The places are the right ones: the public parts are in them.
    assert keys[0].split("_")[1].encode() in places["log"]
    assert any(keys[0].split("_")[1].encode() in places[p] for p in places if "redis" in p)
    for key in (*keys, mesh.operator_key):
        secret = key.split("_")[2].encode()
        assert [place for place, content in places.items() if secret in content] == []


async def _misuse(replica: Replica, operator_key: str, key: str) -> None:
    """Puts the key wherever a hasty caller may put it."""
    metadata = bearer(operator_key)
    wrong = f"{key[:-1]}-"
    calls: list[Awaitable[object]] = [
        replica.keys.RevokeKey(
            keys_pb2.RevokeKeyRequest(key_id=key), metadata=metadata, timeout=20
        ),
        replica.keys.CreateKey(
            keys_pb2.CreateKeyRequest(request_id=key, tenant="acme"), metadata=metadata, timeout=20
        ),
        replica.keys.CreateKey(
            keys_pb2.CreateKeyRequest(request_id=str(uuid.uuid4()), tenant=key),
            metadata=metadata,
            timeout=20,
        ),
        replica.keys.ListKeys(keys_pb2.ListKeysRequest(tenant=key), metadata=metadata, timeout=20),
        replica.keys.ListKeys(keys_pb2.ListKeysRequest(), metadata=bearer(wrong), timeout=20),
        replica.keys.ListKeys(
            keys_pb2.ListKeysRequest(), metadata=(("authorization", key),), timeout=20
        ),
        replica.keys.ListKeys(
            keys_pb2.ListKeysRequest(), metadata=(*INTERNAL, ("x-request-id", key)), timeout=20
        ),
    ]
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(answer, grpc.aio.AioRpcError)
        assert key.split("_")[2] not in (answer.details() or "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("governance: {heartbeat_ms: 0}", "heartbeat_ms: Input should be greater than 0"),
        ("governance: {no_such_setting: 1}", "no_such_setting: Extra inputs are not permitted"),
    ],
)
async def test_wrong_settings_end_the_process_with_a_sentence(
    tmp_path: Path, content: str, says: str
) -> None:
    config, log = tmp_path / "config.yaml", tmp_path / "log"
    config.write_text(content)
    async with _process(log, config) as process:
        assert await asyncio.wait_for(process.wait(), 60) == 2
    assert says in log.read_text()
    assert "Traceback" not in log.read_text()
