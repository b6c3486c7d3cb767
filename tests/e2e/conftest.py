"""The whole mesh behind Envoy, as processes on this machine, with a scripted provider beside the
embedded model."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import yaml
from supervisor.xmlrpc import SupervisorTransport
from xmlrpc.client import ServerProxy

import infermesh
from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.upstream import ScriptedUpstream
from infermesh_local import LocalMesh, MeshInfo, UpOptions
from infermesh_local.layout import StateLayout

# Models for limits of the rate: a model rests after one.
LIMITED = ("limited-whole", "limited-stream")


class RunningMesh:
    """A mesh and ways to use and to break it."""

    def __init__(self, local: LocalMesh, info: MeshInfo) -> None:
        self.local = local
        self.info = info
        self.url = info.url
        layout = StateLayout.at(info.state_dir)
        self._supervisor = ServerProxy(
            "http://127.0.0.1", SupervisorTransport(None, None, f"unix://{layout.socket}")
        )
        self._ports = json.loads(layout.ports_file.read_text())

    @property
    def operator_key(self) -> str:
        return self.info.operator_key_file.read_text().strip()

    def key(self, tenant: str = "demo") -> str:
        return self.info.tenant_key_files[tenant].read_text().strip()

    def openai(self, tenant: str = "demo", *, key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key or self.key(tenant), max_retries=0, timeout=60
        )

    def async_openai(self, *, key: str | None = None) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key=key or self.key(), max_retries=0, timeout=60
        )

    def client(self, tenant: str | None = None) -> infermesh.Client:
        return infermesh.Client(self.url, self.key(tenant) if tenant else self.operator_key)

    def http(self, method, path, body=None, *, key="demo", headers=None):
        """(status, headers, body): parsed when it is JSON, else text."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            sent["authorization"] = f"Bearer {self.key() if key == 'demo' else key}"
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return self._read(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            return self._read(error.code, error.headers, error.read())

    @staticmethod
    def _read(status, headers, raw):
        lower = {name.lower(): value for name, value in headers.items()}
        if lower.get("content-type", "").startswith("application/json"):
            return status, lower, json.loads(raw)
        return status, lower, raw.decode("utf-8", "replace")

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


class ThreadedUpstream(ScriptedUpstream):
    """The scripted provider on a loop of its own: tests with blocking clients need the other."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> ThreadedUpstream:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.__aenter__(), self._loop).result(20)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self.__aexit__(None, None, None), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def reset(self) -> None:
        self.handler = None
        self.requests.clear()
        self.headers.clear()
        self.disconnected.clear()


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
) -> Iterator[RunningMesh]:
    """One mesh for the whole run; a test that breaks it mends it."""
    state: Path = tmp_path_factory.mktemp("mesh")
    local = LocalMesh(state)
    info = local.up(UpOptions(port=free_port()), print)
    documents = [
        resource("Provider", "scripted", baseUrl=_upstream.base_url),
        *(model(name, provider="scripted", price="1") for name in ("scripted", *LIMITED)),
    ]
    (info.resources_dir / "scripted.yaml").write_text(yaml.safe_dump_all(documents))
    running = RunningMesh(local, info)
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
