"""`make soak`: load with faults on, after which every request and every cent is accounted for."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.processes import Neighbours, NotReady
from benchmarks.report import Figure, report
from benchmarks.soak.course import Result, Soak, run
from benchmarks.soak.provider import provider
from benchmarks.soak.samples import EVERY_S, LONG_RUN_MINUTES
from benchmarks.soak.scripts import OF_REQUESTS, SHARE_OF_CONNECTIONS, SHARE_OF_FAULTS
from benchmarks.soak.stand import mesh
from infermesh_local import LocalMeshError


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def soak(minutes: float, rate: float | None, seed: int) -> tuple[Result, float]:
    """Starts everything, soaks, stops everything; also the share of the machine of others.

    Raises:
        NotReady, LocalMeshError: something did not start or ended.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        provider() as failing,
        provider() as steady,
        mesh(Path(folder) / "mesh", failing, steady) as soaked,
    ):
        neighbours = Neighbours(soaked.pids.values())
        result = run(Soak(soaked, failing, steady, minutes, rate, seed, _say))
        return result, neighbours.percent()


def figures(result: Result) -> dict[str, Figure]:
    """What is compared from run to run."""
    outcomes = result.outcomes
    total = len(outcomes.good)
    answered = sum(outcomes.good.values())
    found: dict[str, Figure] = {
        "saturation_rps": result.saturation,
        "rate_rps": result.rate,
        "requests": total,
        "answered": answered,
        "failed": total - answered,
        "hit_rate_percent": 100 * outcomes.caches["hit"] / max(1, answered),
        "faults": sum(result.faults.values()),
        "slowest_s": outcomes.slowest_s,
        "generator_late_s": result.late_s,
        "held_back_s": result.held_back_s,
    }
    for name, trend in result.trends.items():
        found[f"{name}_rss_mb"] = trend.rss_mb
        found[f"{name}_rss_mb_per_minute"] = trend.mb_per_minute
    return found


def print_verdicts(result: Result) -> bool:
    """A table of the invariants; whether all of them held."""
    table = Table(title="invariants")
    table.add_column("held")
    table.add_column("invariant")
    table.add_column("found", overflow="fold")
    for verdict in result.verdicts:
        table.add_row("yes" if verdict.held else "NO", verdict.what, verdict.found)
    Console().print(table)
    return all(verdict.held for verdict in result.verdicts)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of load")
    parser.add_argument("--rate", type=float, help="requests a second; else half of saturation")
    parser.add_argument("--seed", type=int, default=0, help="of chance")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Runs the soak; 1 when an invariant did not hold, 2 when it cannot run here."""
    chosen = _arguments(arguments)
    try:
        result, others = soak(chosen.minutes, chosen.rate, chosen.seed)
    except (NotReady, LocalMeshError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    method = (
        f"an open loop at half of saturation on every surface, half of them streams, half of them "
        f"repeats; {SHARE_OF_FAULTS:.0%} of the requests to the provider meet one of "
        f"{len(OF_REQUESTS)} faults, {SHARE_OF_CONNECTIONS:.0%} of new connections another; memory "
        f"and files every {EVERY_S:g} s; slopes without the first quarter, in runs of less than "
        f"{LONG_RUN_MINUTES:g} minutes judged by the lower end of their interval of confidence"
    )
    details: dict[str, object] = {
        "verdicts": [asdict(verdict) for verdict in result.verdicts],
        "trends": {name: asdict(trend) for name, trend in result.trends.items()},
        "samples": {
            name: [asdict(sample) for sample in samples] for name, samples in result.samples.items()
        },
        "faults": dict(result.faults),
        "failures": dict(result.outcomes.failures),
        "caches": dict(result.outcomes.caches),
        "spend_usd": result.spent,
        "others_cpu_percent": others,
    }
    data = (
        f"{chosen.minutes:g} minutes, seed {chosen.seed}, others used {others:.0f} % of the cores"
    )
    report("soak", figures(result), method=method, data=data, details=details)
    held = print_verdicts(result)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
