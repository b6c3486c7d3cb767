"""The whole mesh behind Envoy, as processes on this machine, with a scripted provider beside the
embedded model."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from supervisor.xmlrpc import SupervisorTransport
from xmlrpc.client import ServerProxy

from infermesh_common.testing.resources import model, resource
from infermesh_local import LocalMesh, MeshInfo, UpOptions
from infermesh_local.layout import StateLayout
from tests.e2e.running_mesh import RunningMesh
from tests.e2e.threaded_upstream import ThreadedUpstream

# Models for limits of the rate: a model rests after one.
LIMITED = ("limited-whole", "limited-stream")


class LocalRunningMesh(RunningMesh):
    """A mesh of processes on this machine, and ways to break it."""

    def __init__(self, local: LocalMesh, info: MeshInfo) -> None:
        keys = {tenant: file.read_text().strip() for tenant, file in info.tenant_key_files.items()}
        super().__init__(info.url, info.operator_key_file.read_text().strip(), keys)
        self.local = local
        self.info = info
        layout = StateLayout.at(info.state_dir)
        self._supervisor = ServerProxy(
            "http://127.0.0.1", SupervisorTransport(None, None, f"unix://{layout.socket}")
        )
        self._ports = json.loads(layout.ports_file.read_text())

    def logs(self) -> str:
        folder = self.info.state_dir
        return "".join(path.read_text("utf-8", "replace") for path in folder.rglob("*.log"))

    def pid(self, process: str) -> int:
        info = self._supervisor.supervisor.getProcessInfo(process)
        assert isinstance(info, dict)
        return int(info["pid"])

    def stop_process(self, process: str) -> None:
        self._supervisor.supervisor.stopProcess(process)

    def start_process(self, process: str) -> None:
        self._supervisor.supervisor.startProcess(process)

    def health_of(self, service: str) -> str:
        for process in self.local.status().processes:
            if process.name == service:
                return "SERVING" if process.ready else "NOT_SERVING"
        raise KeyError(service)

    def wait_ready(self, within_s: float = 60.0) -> None:
        done = threading.Event()
        for _ in range(int(within_s / 0.2)):
            if self.local.status().ready:
                return
            done.wait(0.2)
        raise AssertionError(f"not ready: {self.local.status()}")

    def _metric(self, name: str) -> float:
        url = f"http://127.0.0.1:{self._ports['router-metrics']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            for line in response.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.rpartition(" ")[2])
        return 0.0

    def breaker(self, dependency: str) -> int:
        return int(self._metric(f'infermesh_breaker_state{{dependency="{dependency}"}}'))

    def in_flight(self, service: str) -> int:
        return int(self._metric(f'infermesh_rpc_in_flight{{service="{service}"}}'))

    def events_queued(self) -> int:
        return int(self._metric("infermesh_events_queued"))


@pytest.fixture(scope="session")
def _upstream() -> Iterator[ThreadedUpstream]:
    with ThreadedUpstream() as server:
        yield server


@pytest.fixture
def upstream(_upstream: ThreadedUpstream) -> ThreadedUpstream:
    """The scripted provider, with nothing asked of it yet."""
    _upstream.reset()
    return _upstream


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def mesh(
    tmp_path_factory: pytest.TempPathFactory, _upstream: ThreadedUpstream
) -> Iterator[LocalRunningMesh]:
    """One mesh for the whole run; a test that breaks it mends it."""
    state: Path = tmp_path_factory.mktemp("mesh")
    local = LocalMesh(state)
    info = local.up(UpOptions(port=free_port()), print)
    documents = [
        resource("Provider", "scripted", baseUrl=_upstream.base_url),
        *(model(name, provider="scripted", price="1") for name in ("scripted", *LIMITED)),
    ]
    (info.resources_dir / "scripted.yaml").write_text(yaml.safe_dump_all(documents))
    running = LocalRunningMesh(local, info)
    try:
        names = set()
        for _ in range(200):
            names = {m.id for m in running.openai().models.list()}
            if "scripted" in names:
                break
            threading.Event().wait(0.1)
        assert "scripted" in names, names
        yield running
    finally:
        local.down(print)


@pytest.fixture
def unique() -> str:
    """A question nobody asked before."""
    return f"question {uuid.uuid4()}"
