"""The whole mesh as processes on this machine."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from xmlrpc.client import ServerProxy

import yaml
from supervisor.xmlrpc import SupervisorTransport

from infermesh_local import LocalMesh, MeshInfo
from infermesh_local.layout import StateLayout
from tests.e2e.running_mesh import RunningMesh


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

    def apply(self, documents: Sequence[Mapping[str, object]]) -> None:
        (self.info.resources_dir / "tests.yaml").write_text(yaml.safe_dump_all(documents))

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
