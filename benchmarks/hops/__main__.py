"""`make bench-hops`: throughput, latency and memory of the mesh beside a bare echo.

Both stand behind an Envoy of the same bootstrap, on the same machine, in the same run; rounds are
interleaved and medians reported, so that noise of the machine falls on both.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import yaml

import infermesh
from benchmarks.hops import load
from benchmarks.hops.profile import hottest
from benchmarks.report import report
from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.servers import free_port
from infermesh_envoy import descriptor_path, envoy_binary, parameters_from, render
from infermesh_local import LocalMesh, LocalMeshError, MeshInfo, UpOptions

ROUNDS = 5
SECONDS = 4
PROFILE_SECONDS = 4
SERVICES = ("router", "cache", "governance", "analytics")
_MODEL = "fixed"
_STAGES_OF = 200


@contextlib.contextmanager
def process(*command: str) -> Iterator[None]:
    """A program that runs while the block does."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        running.wait(20)


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    """Polls with a deadline."""
    pause = threading.Event()
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise load.LoadError(f"{what} did not happen within {within_s:.0f} s")
        pause.wait(0.1)


@contextlib.contextmanager
def echo_behind_envoy(folder: Path) -> Iterator[int]:
    """The bare echo behind an Envoy of the mesh's own bootstrap; yields the Envoy's port."""
    port, echo, admin = free_port(), free_port(), free_port()
    values: dict[str, object] = {
        "listen_address": "127.0.0.1",
        "listen_port": port,
        "admin_address": "127.0.0.1",
        "admin_port": admin,
        "cluster_type": "STATIC",
        "descriptor_path": str(descriptor_path()),
        "access_log_path": str(folder / "access.log"),
    }
    for service in SERVICES:
        values |= {f"{service}_host": "127.0.0.1", f"{service}_port": echo}
    config = folder / "envoy.yaml"
    config.write_text(render(parameters_from(values)))
    envoy = (str(envoy_binary()), "-c", str(config), "--concurrency", "1", "-l", "error")
    with (
        process(sys.executable, "-m", "benchmarks.hops.echo", str(echo)),
        process(*envoy, "--disable-hot-restart"),
    ):
        wait_until(lambda: _answers(port, "echo"), "the echo's first answer")
        yield port


@contextlib.contextmanager
def mesh_with_responder(folder: Path) -> Iterator[MeshInfo]:
    """The mesh, with a provider that always answers the same at once."""
    upstream = free_port()
    local = LocalMesh(folder)
    with process(sys.executable, "-m", "benchmarks.hops.responder", str(upstream)):
        info = local.up(UpOptions(port=free_port()), lambda line: print(f"  {line}"))
        try:
            documents = [
                resource("Provider", "fixed", baseUrl=f"http://127.0.0.1:{upstream}/v1"),
                model(_MODEL, provider="fixed"),
            ]
            (info.resources_dir / "fixed.yaml").write_text(yaml.safe_dump_all(documents))
            port, key = _public(info), _key(info)
            wait_until(lambda: _answers(port, key), "the mesh's first answer")
            yield info
        finally:
            local.down(lambda line: None)


def _public(info: MeshInfo) -> int:
    return int(info.url.rpartition(":")[2])


def _key(info: MeshInfo) -> str:
    return info.tenant_key_files["demo"].read_text().strip()


def _answers(port: int, key: str) -> bool:
    try:
        one = {"connections": 1, "seconds": 1}
        load.run(port, api_key=key, model=_MODEL, unique=False, seed=0, **one)
    except load.LoadError:
        return False
    return True


def measure(echo_port: int, info: MeshInfo) -> dict[str, float]:
    """Medians of interleaved rounds."""
    port, key = _public(info), _key(info)
    rounds: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        for connections in (16, 1):
            for name, at, unique in (
                ("echo", echo_port, False),
                ("hit", port, False),
                ("miss", port, True),
            ):
                done = load.run(
                    at,
                    api_key=key,
                    model=_MODEL,
                    connections=connections,
                    seconds=SECONDS,
                    unique=unique,
                    seed=number * 100 + connections,
                )
                if connections == 16:
                    rounds.setdefault(f"{name}_rps", []).append(done.rps)
                else:
                    rounds.setdefault(f"{name}_p50_ms", []).append(done.p50_ms)
        print(f"  round {number + 1} of {ROUNDS} done")
    return {name: statistics.median(values) for name, values in rounds.items()}


def stage_medians(info: MeshInfo) -> dict[str, float]:
    """Median microseconds of each stage of hits and of misses, out of the ledger."""
    samples: dict[str, list[float]] = {}
    with infermesh.Client(info.url, _key(info)) as client:
        for unique in (False, True):
            one = {"connections": 1, "seconds": 1}
            load.run(
                _public(info), api_key=_key(info), model=_MODEL, unique=unique, seed=9999, **one
            )
        seen = 0
        for event in client.events(page_size=1000):
            if event.requested_model != _MODEL or seen > 20 * _STAGES_OF:
                break
            seen += 1
            kind = "hit" if event.decision.cache_status.value == "hit" else "miss"
            for stage in event.decision.stages:
                values = samples.setdefault(f"{kind}.{stage.stage}", [])
                if len(values) < _STAGES_OF:
                    values.append(stage.duration_ms * 1000)
    return {name: statistics.median(values) for name, values in sorted(samples.items())}


def memory(local: LocalMesh) -> dict[str, float]:
    """Resident MB (10^6 bytes) of each process."""
    return {
        process.name: psutil.Process(process.pid).memory_info().rss / 1e6
        for process in local.status().processes
        if process.pid is not None
    }


def print_profile(info: MeshInfo, pids: dict[str, int]) -> None:
    """Prints where router and cache spend their time under hits and misses."""
    port, key = _public(info), _key(info)
    for kind, unique in (("hits", False), ("misses", True)):
        for service in ("router", "cache"):
            seconds = PROFILE_SECONDS + 2
            options = {"connections": 16, "seconds": seconds, "seed": 77_000 + seconds}
            worker = threading.Thread(
                target=lambda unique=unique, options=options: load.run(
                    port, api_key=key, model=_MODEL, unique=unique, **options
                )
            )
            worker.start()
            found = hottest(pids[service], PROFILE_SECONDS, 8)
            worker.join()
            print(f"\nWhere the {service}'s time goes on {kind} (own share of samples):")
            for name, share in found:
                print(f"  {share:5.1f} %  {name}")
            if not found:
                print("  py-spy may not look into the process (it needs ptrace)")


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark; 2 when it cannot run here."""
    try:
        load.require_wrk()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            state = folder / "mesh"
            with echo_behind_envoy(folder) as echo_port, mesh_with_responder(state) as info:
                figures: dict[str, float | dict[str, float]] = {**measure(echo_port, info)}
                local = LocalMesh(state)
                figures["rss_mb"] = memory(local)
                figures["stage_us"] = stage_medians(info)
                processes = local.status().processes
                print_profile(info, {p.name: p.pid for p in processes if p.pid is not None})
    except (load.LoadError, LocalMeshError) as error:
        print(error, file=sys.stderr)
        return 2
    report(
        "hops",
        figures,
        method=(
            f"wrk, 1 thread, {SECONDS} s a round, medians of {ROUNDS} interleaved rounds; rps at "
            "16 connections, p50 at 1; auth, cache and ledger on; echo is a bare grpc.aio service "
            "behind an Envoy of the same bootstrap"
        ),
        data="one fixed question (hit), a new one each time (miss), a fixed responder upstream",
    )
    print(json.dumps({k: v for k, v in figures.items() if not isinstance(v, dict)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
