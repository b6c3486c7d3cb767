"""Parameters and edges that the tests share."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType

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

        async def start(**overrides: object) -> EnvoyProcess:
            values = _required({service: server.port for service, server in mesh.items()})
            process = EnvoyProcess(parameters_from({**values, **overrides}), tmp_path)
            stack.push_async_callback(asyncio.to_thread, process.stop)
            await asyncio.to_thread(process.start)
            return process

        yield start
