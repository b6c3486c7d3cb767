"""The service as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
import yaml

from infermesh_cache.__main__ import main
from infermesh_common.identity.directory import INTERNAL_TOKEN_HEADER, TENANT_HEADER
from infermesh_common.testing.servers import RedisServer, eventually, free_port
from infermesh_common.testing.settings import INTERNAL_TOKEN

if TYPE_CHECKING:
    from services.cache.tests.conftest import Caller, Mesh

# Nothing but lookups runs a script.
UNSWEPT = {"sweep_interval_ms": 600_000}


@asynccontextmanager
async def process(
    mesh: Mesh, redis: RedisServer, port: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m infermesh_cache` on `port`, ended with the block."""
    mesh.settings(redis)
    config = mesh.folder / "cache.yaml"
    deployment = yaml.safe_load(config.read_text())
    deployment["common"]["server"].update(listen_address=f"127.0.0.1:{port}", drain_ms=100)
    deployment["common"]["server"].update(stop_grace_ms=30_000)
    deployment["cache"] = {"redis": {"operation_timeout_ms": 10_000}, "entries": UNSWEPT}
    config.write_text(yaml.safe_dump(deployment))
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "infermesh_cache",
        env={"INFERMESH_CONFIG": str(config)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def test_on_sigterm_those_who_wait_still_get_their_answer(
    mesh: Mesh, redis_server: RedisServer
) -> None:
    replica = await mesh.start(redis_server, flights={"lease_ttl_ms": 600_000}, entries=UNSWEPT)
    leader = replica.caller()
    token = await leader.lead("q")
    port = free_port()
    async with process(mesh, redis_server, port) as service:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            caller = replica.caller()
            caller.stub = type(caller)(channel, ()).stub
            caller.metadata = (
                (INTERNAL_TOKEN_HEADER, INTERNAL_TOKEN),
                (TENANT_HEADER, "acme"),
            )
            await asyncio.wait_for(channel.channel_ready(), 60)
            waiting = asyncio.create_task(caller.lookup("q", single_flight=True, wait_s=50))
            with redis_server.client() as client:
                # The first lookup of that process; it waits from then on.
                scripts = client.info("commandstats")["cmdstat_evalsha"]["calls"]

                def looked() -> bool:
                    calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
                    return bool(calls > scripts)

                await eventually(looked)
            service.send_signal(signal.SIGTERM)

            async def refuses() -> bool:
                return await _refused(caller)

            await eventually(refuses)
            assert not waiting.done()
            await leader.store("q", b"in time", token=token)
            response = await waiting
            assert (response.hit.body, response.shared) == (b"in time", True)
        assert await asyncio.wait_for(service.wait(), 60) == 0


async def _refused(caller: Caller) -> bool:
    """Whether new calls are refused."""
    try:
        await caller.lookup("other")
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


def test_settings_that_cannot_be_used_end_the_process_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INFERMESH_CONFIG", "/nonexistent/config.yaml")
    assert main() == 2
    assert capsys.readouterr().err.count("\n") == 1
