"""A process that is told to stop answers everything that it took on."""

import asyncio
import json
import os
import signal
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from infermesh_common.rpc.health import NOT_SERVING, SERVING
from infermesh_common.testing.rpc import scripted_client
from infermesh_common.testing.servers import eventually

DRAIN_MS = 700
WORK_MS = "40"
CONNECTIONS = 6


@dataclass
class Probe:
    """The running process."""

    process: asyncio.subprocess.Process
    output: Path
    target: str = ""
    metrics_url: str = ""

    def lines(self) -> list[dict[str, object]]:
        """What it logged; every line must be JSON."""
        return [json.loads(line) for line in self.output.read_text().splitlines()]


def configuration(folder: Path) -> Path:
    token = folder / "token"
    token.write_text("secret")
    targets = dict.fromkeys(("router", "cache", "governance", "analytics"), "127.0.0.1:1")
    common = {
        "server": {
            "listen_address": "127.0.0.1:0",
            "metrics_address": "127.0.0.1:0",
            "drain_ms": DRAIN_MS,
            "stop_grace_ms": 60_000,
        },
        "identity": {"internal_token_file": str(token)},
        "redis": {"url": "redis://127.0.0.1:1/0"},
        "targets": targets,
        "resources_dir": str(folder),
    }
    file = folder / "infermesh.yaml"
    file.write_text(
        yaml.safe_dump({"common": common, "probe": {"greeting": str(folder / "ports")}})
    )
    return file


@asynccontextmanager
async def started(folder: Path, packages: Path, **environment: str) -> AsyncIterator[Probe]:
    output = folder / "output"
    with output.open("wb") as stdout:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "infermesh_probe",
            env={
                "PYTHONPATH": str(packages),
                "PATH": os.environ["PATH"],
                "INFERMESH_CONFIG": str(configuration(folder)),
                **environment,
            },
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
        )
    probe = Probe(process, output)
    ports = folder / "ports"
    try:
        await eventually(
            lambda: ports.exists() or process.returncode is not None, within_s=60, what="started"
        )
        if ports.exists():
            port, metrics_port = ports.read_text().split()
            probe.target = f"127.0.0.1:{port}"
            probe.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        yield probe
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(probe: Probe) -> tuple[int, str]:
    """Exit code and standard error."""
    _, stderr = await probe.process.communicate()
    assert probe.process.returncode is not None
    return probe.process.returncode, stderr.decode()


@dataclass
class Traffic:
    """What a client saw."""

    answered: set[str] = field(default_factory=set)
    refused: dict[str, grpc.StatusCode] = field(default_factory=dict)
    answered_while_draining: int = 0
    draining: bool = False


async def hammer(target: str, traffic: Traffic) -> None:
    """Calls on a connection of its own until it is refused."""
    async with scripted_client(target) as client:
        while True:
            request_id = str(uuid.uuid4())
            try:
                metadata = (("x-request-id", request_id),)
                answers = await client.answers("unary_unary", WORK_MS, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                traffic.refused[request_id] = error.code()
                return
            assert answers == [WORK_MS]
            traffic.answered.add(request_id)
            traffic.answered_while_draining += traffic.draining


async def health_of(target: str) -> int:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="readiness")
        response = await stub.Check(request, timeout=20)
        return int(response.status)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_every_request_that_was_accepted_is_answered(
    number: signal.Signals, tmp_path: Path, probe_packages: Path
) -> None:
    traffic = Traffic()
    async with started(tmp_path, probe_packages) as probe:

        async def is_ready() -> bool:
            return await health_of(probe.target) == int(SERVING)

        await eventually(is_ready)
        clients = [asyncio.ensure_future(hammer(probe.target, traffic)) for _ in range(CONNECTIONS)]
        await eventually(lambda: len(traffic.answered) > 5 * CONNECTIONS)

        probe.process.send_signal(number)

        async def drains() -> bool:
            return await health_of(probe.target) == int(NOT_SERVING)

        await eventually(drains, what="health says so before calls are refused")
        traffic.draining = True
        await asyncio.gather(*clients)
        assert await ended(probe) == (0, "")

    assert traffic.answered_while_draining > 0, "calls that still come are served"
    assert set(traffic.refused.values()) == {grpc.StatusCode.UNAVAILABLE}
    rpcs = [line for line in probe.lines() if line["event"] == "rpc"]
    accepted = {line["request_id"] for line in rpcs if line["code"] == "OK"}
    assert accepted == traffic.answered, "none was accepted and lost"
    others = {line["request_id"]: line["code"] for line in rpcs if line["code"] != "OK"}
    assert set(others) <= set(traffic.refused) and set(others.values()) <= {"UNAVAILABLE"}
    events = [line["event"] for line in probe.lines() if line["event"] != "rpc"]
    assert events == ["listening", "stopping"]


async def test_a_call_under_way_is_finished_before_the_process_ends(
    tmp_path: Path, probe_packages: Path
) -> None:
    async with started(tmp_path, probe_packages) as probe:
        async with scripted_client(probe.target) as client:
            long_ms = str(DRAIN_MS * 3)
            call = asyncio.ensure_future(client.answers("unary_stream", long_ms))
            await client.answers("unary_unary", "0")
            probe.process.send_signal(signal.SIGTERM)
            assert await call == [long_ms]
        assert (await ended(probe))[0] == 0


async def test_metrics_are_served_as_text(tmp_path: Path, probe_packages: Path) -> None:
    async with started(tmp_path, probe_packages) as probe:
        async with scripted_client(probe.target) as client:
            assert await client.answers("unary_unary", "0") == ["0"]

        def read() -> tuple[str, str]:
            with urllib.request.urlopen(probe.metrics_url, timeout=20) as response:
                return response.headers["content-type"], response.read().decode()

        content_type, text = await asyncio.to_thread(read)
        assert content_type.startswith("text/plain")
        method = 'method="/infermesh.test.v1.ScriptedService/unary_unary"'
        assert f'infermesh_rpc_requests_total{{code="OK",{method},service="probe"}} 1.0' in text
        assert 'infermesh_rpc_in_flight{service="probe"} 0.0' in text


async def test_settings_that_cannot_be_used_end_it_with_one_sentence(
    tmp_path: Path, probe_packages: Path
) -> None:
    async with started(tmp_path, probe_packages, INFERMESH_PROBE__LIMITS__DEPTH="deep") as probe:
        code, stderr = await ended(probe)
    assert code != 0
    assert stderr.count("\n") == 1 and "limits.depth: " in stderr and "deep" not in stderr
