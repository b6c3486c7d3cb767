"""An Envoy that is to end answers what it has begun."""

import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infermesh_common.testing.servers import eventually
from infermesh_envoy import descriptor_path, parameters_from
from infermesh_envoy.testing import EnvoyProcess

SERVICES = ("router", "cache", "governance", "analytics")
REQUEST = b"GET /health HTTP/1.1\r\nhost: mesh\r\n\r\n"


@pytest.fixture
def envoy(tmp_path: Path) -> Iterator[EnvoyProcess]:
    """An Envoy as in the pod, with somebody behind it who never answers."""
    silent = socket.create_server(("127.0.0.1", 0))
    values: dict[str, object] = {
        "listen_address": "127.0.0.1",
        "listen_port": 0,
        "admin_address": "127.0.0.1",
        "admin_port": 0,
        "cluster_type": "STATIC",
        "descriptor_path": str(descriptor_path()),
        "access_log_path": "/dev/stdout",
        "upstream_health_checks": False,
    }
    for service in SERVICES:
        values |= {f"{service}_host": "127.0.0.1", f"{service}_port": silent.getsockname()[1]}
    process = EnvoyProcess(parameters_from(values), tmp_path, drain_s=1)
    process.start()
    yield process
    process.stop()
    silent.close()


@pytest.fixture
def drain(envoy: EnvoyProcess) -> Iterator[subprocess.Popen[bytes]]:
    """What the pod runs before Envoy is told to end."""
    command = [sys.executable, "-m", "infermesh_envoy", "drain", f"--admin={envoy.admin_address}"]
    command += ["--notice-seconds=0", "--seconds=60"]
    process = subprocess.Popen(command)
    yield process
    process.kill()
    process.wait()


def _asks_to_connect_anew(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/nothing")
        return connection.getresponse().getheader("connection") == "close"
    finally:
        connection.close()


@pytest.fixture
def under_way(envoy: EnvoyProcess) -> Iterator[socket.socket]:
    """A request whose answer has not begun."""
    with socket.create_connection(("127.0.0.1", envoy.port), timeout=30) as client:
        client.sendall(REQUEST)
        yield client


async def test_an_answer_under_way_is_waited_for(
    envoy: EnvoyProcess, under_way: socket.socket, drain: subprocess.Popen[bytes]
) -> None:
    await eventually(lambda: _asks_to_connect_anew(envoy.port))
    for _ in range(50):
        # Who comes late is served, and it still waits for the one that is there.
        assert envoy.stat("http.edge.downstream_rq_active") >= 1
        assert drain.poll() is None

    under_way.close()

    assert drain.wait(30) == 0


async def test_an_idle_envoy_is_not_waited_for(
    envoy: EnvoyProcess, drain: subprocess.Popen[bytes]
) -> None:
    assert drain.wait(30) == 0
    await eventually(lambda: _asks_to_connect_anew(envoy.port))
