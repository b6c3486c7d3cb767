"""Parameters and edges that the tests share."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from infermesh_envoy import descriptor_path, parameters_from
from infermesh_envoy.testing import EnvoyProcess, ScriptedUpstream

SERVICES = ("router", "cache", "governance", "analytics")


def _required(ports: Mapping[str, int]) -> dict[str, object]:
    addresses: dict[str, object] = {}
    for service in SERVICES:
        addresses |= {f"{service}_host": "127.0.0.1", f"{service}_port": ports[service]}
    return {
        "listen_address": "127.0.0.1",
        "listen_port": 0,
        "admin_address": "127.0.0.1",
        "admin_port": 0,
        **addresses,
        "cluster_type": "STATIC",
        "descriptor_path": str(descriptor_path()),
        "access_log_path": "/dev/null",
    }


@pytest.fixture(scope="session")
def required() -> Mapping[str, object]:
    """The values a deployment must state; nothing listens on the ports."""
    return MappingProxyType(_required(dict.fromkeys(SERVICES, 1)))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "tls.crt", folder / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", "/CN=edge", "-keyout", str(key)]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def upstreams() -> AsyncIterator[dict[str, ScriptedUpstream]]:
    """One scripted server a service, for the whole run."""
    servers = {service: ScriptedUpstream() for service in SERVICES}
    for server in servers.values():
        await server.start()
    yield servers
    for server in servers.values():
        await server.stop()


@pytest.fixture
def mesh(upstreams: dict[str, ScriptedUpstream]) -> dict[str, ScriptedUpstream]:
    """The scripted servers by service, without scripts and calls."""
    for server in upstreams.values():
        server.reset()
    return upstreams


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def edge(
    upstreams: dict[str, ScriptedUpstream], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EnvoyProcess]:
    """An Envoy with the default parameters in front of the scripted servers."""
    values = _required({service: server.port for service, server in upstreams.items()})
    process = EnvoyProcess(parameters_from(values), tmp_path_factory.mktemp("edge"))
    await asyncio.to_thread(process.start)
    yield process
    await asyncio.to_thread(process.stop)


@pytest_asyncio.fixture(loop_scope="session")
async def http(edge: EnvoyProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client of `edge`."""
    base = f"http://127.0.0.1:{edge.port}"
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(base, timeout=timeout) as session:
        yield session


@pytest_asyncio.fixture(loop_scope="session")
async def start_edge(
    mesh: dict[str, ScriptedUpstream], tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[EnvoyProcess]]]:
    """Starts an Envoy of the test's own, with these parameters over the usual ones."""
    async with AsyncExitStack() as stack:

        async def start(
            *,
            adjust: Callable[[dict[str, Any]], None] | None = None,
            drain_s: int = 600,
            **overrides: object,
        ) -> EnvoyProcess:
            values = _required({service: server.port for service, server in mesh.items()})
            parameters = parameters_from({**values, **overrides})
            process = EnvoyProcess(parameters, tmp_path, adjust=adjust, drain_s=drain_s)
            stack.push_async_callback(asyncio.to_thread, process.stop)
            await asyncio.to_thread(process.start)
            return process

        yield start


class Replica:
    """One process of `replica.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.port = 0

    async def listening(self) -> None:
        """Until it says its port."""
        assert self._process.stdout is not None
        self.port = int(await asyncio.wait_for(self._process.stdout.readline(), 60))

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.wait_for(self._process.wait(), 60)

    async def end(self) -> None:
        """Kills it if it still runs."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@pytest_asyncio.fixture(loop_scope="session")
async def start_replica(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Replica]]]:
    """Starts replicas of the router, each a process."""
    async with AsyncExitStack() as stack:

        async def start(name: str, address: str = "127.0.0.1:0", **settings: object) -> Replica:
            file = tmp_path / f"replica-{name}.json"
            file.write_text(json.dumps({"name": name, "listen_address": address, **settings}))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(Path(__file__).with_name("replica.py")), str(file)),
                env={"PATH": os.environ["PATH"]},
                stdout=asyncio.subprocess.PIPE,
            )
            replica = Replica(process)
            stack.push_async_callback(replica.end)
            await replica.listening()
            return replica

        yield start
