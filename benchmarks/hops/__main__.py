"""`make bench-hops`: throughput, latency and memory of the mesh beside a bare echo.

Both stand behind an Envoy of the same bootstrap, on the same machine, in the same run; rounds are
interleaved and medians reported, so that noise of the machine falls on both.
"""

import json
import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import infermesh
from benchmarks import load
from benchmarks.echo import echo_behind_envoy
from benchmarks.mesh import MODEL, RunningMesh, mesh_before
from benchmarks.processes import NotReady
from benchmarks.profile import hottest, lines_of
from benchmarks.report import Figure, report
from benchmarks.target import Target
from benchmarks.upstream import fixed_upstream
from infermesh_local import LocalMeshError

ROUNDS = 5
SECONDS = 4
PROFILE_SECONDS = 4
_STAGES_OF = 200


def measure(echo: Target, mesh: Target) -> dict[str, float]:
    """Medians of interleaved rounds."""
    rounds: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        for connections in (16, 1):
            for name, target, unique in (
                ("echo", echo, False),
                ("hit", mesh, False),
                ("miss", mesh, True),
            ):
                seed = number * 100 + connections
                done = load.run(
                    target, connections=connections, seconds=SECONDS, unique=unique, seed=seed
                )
                if connections == 16:
                    rounds.setdefault(f"{name}_rps", []).append(done.rps)
                else:
                    rounds.setdefault(f"{name}_p50_ms", []).append(done.p50_ms)
        print(f"  round {number + 1} of {ROUNDS} done")
    return {name: statistics.median(values) for name, values in rounds.items()}


def stage_medians(mesh: RunningMesh) -> dict[str, float]:
    """Median microseconds of each stage of hits and of misses, out of the ledger."""
    samples: dict[str, list[float]] = {}
    with infermesh.Client(mesh.info.url, mesh.key) as client:
        for unique in (False, True):
            load.run(mesh.target(), connections=1, seconds=1, unique=unique, seed=9999)
        seen = 0
        for event in client.events(page_size=1000):
            if event.requested_model != MODEL or seen > 20 * _STAGES_OF:
                break
            seen += 1
            kind = "hit" if event.decision.cache_status.value == "hit" else "miss"
            for stage in event.decision.stages:
                values = samples.setdefault(f"{kind}.{stage.stage}", [])
                if len(values) < _STAGES_OF:
                    values.append(stage.duration_ms * 1000)
    return {name: statistics.median(values) for name, values in sorted(samples.items())}


def print_profile(mesh: RunningMesh) -> None:
    """Prints where router and cache spend their time under hits and misses."""
    seconds = PROFILE_SECONDS + 2
    for kind, unique in (("hits", False), ("misses", True)):
        for seed, service in enumerate(("router", "cache"), 77_000):
            worker = threading.Thread(
                target=lambda unique=unique, seed=seed: load.run(
                    mesh.target(), connections=16, seconds=seconds, unique=unique, seed=seed
                )
            )
            worker.start()
            found = hottest(mesh.pids[service], PROFILE_SECONDS, 8)
            worker.join()
            print(f"\nWhere the {service}'s time goes on {kind} (own and total share of samples):")
            print("\n".join(lines_of(found)))


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark; 2 when it cannot run here."""
    try:
        load.require_wrk()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with (
                fixed_upstream() as upstream,
                echo_behind_envoy(folder, upstream.answer()) as echo,
                mesh_before(upstream, folder / "mesh") as mesh,
            ):
                figures: dict[str, Figure] = {**measure(echo, mesh.target())}
                figures["rss_mb"] = mesh.memory()
                figures["stage_us"] = stage_medians(mesh)
                print_profile(mesh)
    except (load.LoadError, NotReady, LocalMeshError) as error:
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
        data="one question (hit), new ones (miss), a simulator upstream with one fixed answer",
    )
    print(json.dumps({k: v for k, v in figures.items() if not isinstance(v, dict)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
