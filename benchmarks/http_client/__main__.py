"""`python -m benchmarks.http_client`: requests a second and CPU time a request of each HTTP client,
for whole and for streamed answers.

All of them call the same simulator on the same machine in the same run; each measurement is a
process of its own, rounds are interleaved and medians reported. The simulator shares the cores with
them, so the CPU time a request is what tells the clients apart, and the rate what follows of it.
"""

import argparse
import json
import statistics
import subprocess
import sys

from benchmarks.http_client.clients import CLIENTS
from benchmarks.report import Figure, report
from benchmarks.upstream import Upstream, fixed_upstream

CONNECTIONS = 16
_WORKER_S = 60.0


def measure_once(
    client: str, upstream: Upstream, *, stream: bool, seconds: float
) -> dict[str, float]:
    """What `benchmarks.http_client.worker` prints."""
    command = [sys.executable, "-m", "benchmarks.http_client.worker", client]
    command += ["--port", str(upstream.port), "--connections", str(CONNECTIONS)]
    command += ["--seconds", str(seconds)]
    if stream:
        command.append("--stream")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=_WORKER_S + seconds)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def measure(upstream: Upstream, rounds: int, seconds: float) -> dict[str, Figure]:
    """Medians over the rounds, by figure."""
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        for stream in (False, True):
            for client in CLIENTS:
                done = measure_once(client, upstream, stream=stream, seconds=seconds)
                name = f"{client}_{'streamed' if stream else 'whole'}"
                found.setdefault(f"{name}_rps", []).append(done["requests"] / done["seconds"])
                cpu_ms = done["cpu_s"] * 1000 / done["requests"]
                found.setdefault(f"{name}_cpu_ms", []).append(cpu_ms)
        print(f"  round {number + 1} of {rounds} done")
    return {name: statistics.median(values) for name, values in sorted(found.items())}


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(prog="benchmarks.http_client")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args()
    with fixed_upstream() as upstream:
        figures = measure(upstream, asked.rounds, asked.seconds)
        size = len(upstream.answer())
    report(
        "http-client",
        figures,
        method=(
            f"Medians of {asked.rounds} interleaved rounds of {asked.seconds:g} s,"
            f" {CONNECTIONS} calls at once on connections that are used again, uvloop."
            " cpu_ms is user and system time of the client's process."
        ),
        data=f"the simulator on loopback, an answer of {size} bytes, whole and as events",
    )


if __name__ == "__main__":
    main()
