"""A service runs until it is told to stop."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from infermesh_common.rpc.kit import service_kit
from infermesh_common.rpc.server import serve
from infermesh_common.settings import CommonSettings, Settings
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.rpc import SERVICE, ScriptedService, scripted_client
from infermesh_common.testing.servers import RedisServer, eventually
from infermesh_common.testing.settings import settings_for


class Limits(Settings):
    depth: int
    width: int


class ProbeSettings(CommonSettings):
    greeting: str
    limits: Limits


@pytest.mark.usefixtures("probe_packages")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_the_signal_and_then_closes_everything(
    number: signal.Signals, tmp_path: Path, redis_server: RedisServer, governance: FakeGovernance
) -> None:
    settings = settings_for(ProbeSettings, "probe", tmp_path, redis_server, greeting="hi")
    async with service_kit("probe", settings, governance.directory) as kit:
        server = kit.server(service_names=[SERVICE], checks={})
        ScriptedService().add_to(server.grpc)
        serving = asyncio.create_task(serve(server))
        # Its handlers of signals are in place before it listens.
        await eventually(lambda: server.metrics_port > 0)
        async with scripted_client(f"127.0.0.1:{server.port}") as client:
            key = bearer(governance.issue("acme"))
            assert await client.answers("unary_unary", "a", metadata=key) == ["a"]
            os.kill(os.getpid(), number)
            await serving
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.port)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.metrics_port)
