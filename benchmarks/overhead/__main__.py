"""`make bench-overhead`: the mesh beside a bare echo, Portkey's gateway and LiteLLM's proxy."""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import load
from benchmarks.echo import SERVICES, echo_behind_envoy
from benchmarks.mesh import RunningMesh, mesh_before
from benchmarks.overhead import peers
from benchmarks.overhead.contenders import Contender, Reaches
from benchmarks.overhead.gates import Verdict, verdicts
from benchmarks.overhead.measure import CONNECTIONS, Meter
from benchmarks.overhead.profiling import profile
from benchmarks.overhead.rounds import Outcome, Rounds
from benchmarks.processes import NotReady
from benchmarks.report import Figure, report
from benchmarks.upstream import Upstream, fixed_upstream
from infermesh_local import LocalMeshError

CORES = 2
QUIET_PERCENT = 5
OURS = ("hit", "miss", "stream")
PEERS = {"portkey": peers.portkey, "litellm": peers.litellm}
NAMES = ("echo", *OURS, "portkey", "portkey_hit", "litellm", "litellm_hit")
FIGURES = (
    *("echo_rps", "hit_rps", "miss_rps", "stream_rps", "portkey_rps", "litellm_rps"),
    *("portkey_hit_rps", "litellm_hit_rps"),
    *("echo_p50_ms", "hit_p50_ms", "miss_p50_ms", "portkey_p50_ms", "litellm_p50_ms"),
    *("hit_p99_ms", "miss_p99_ms"),
)
MEMORY = ("mesh_rss_mb", "envoy_rss_mb", "redis_rss_mb", "portkey_rss_mb", "litellm_rss_mb")


@dataclass
class Field:
    """Everything that runs while it is measured.

    Attributes:
        upstream: behind all of them.
        contenders: to measure.
        pids: to wait for between measurements.
        mesh: ours; None: not asked for.
        others: peers that run, by name.
        faults: why peers do not, by name.
    """

    upstream: Upstream
    contenders: list[Contender] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    mesh: RunningMesh | None = None
    others: dict[str, peers.Peer] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def memory(self) -> dict[str, Figure]:
        """Resident MB after all the load."""
        figures: dict[str, Figure] = dict.fromkeys(MEMORY)
        if self.mesh is not None:
            each = self.mesh.memory()
            figures["mesh_rss_mb"] = sum(each[name] for name in SERVICES)
            for name in ("envoy", "redis"):
                figures[f"{name}_rss_mb"] = each.get(name)
        for name, peer in self.others.items():
            figures[f"{name}_rss_mb"] = peer.memory()
        return figures


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark; 2 when it cannot run here, 1 with --strict and a gate not met."""
    options = _parser().parse_args(arguments)
    cores = _stay_on_cores()
    try:
        load.require_wrk()
        with contextlib.ExitStack() as stack:
            ground = _prepare(stack, options.only)
            meter = Meter(ground.upstream, ground.pids, options.seconds)
            outcome = Rounds(meter, ground.contenders, _say).run(options.rounds)
            outcome.faults.update(ground.faults)
            figures = _figures(ground, outcome)
            judged = verdicts(figures)
            if options.only:
                figures = {name: value for name, value in figures.items() if value is not None}
                judged = [verdict for verdict in judged if verdict.met is not None]
            missed = any(verdict.met is False for verdict in judged)
            ours = [one for one in ground.contenders if one.name in OURS]
            if ground.mesh is not None and (options.profile or (missed and not options.only)):
                file = profile(meter, ours, ground.mesh.pids["router"])
                print(f"written to {file}")
    except (load.LoadError, NotReady, LocalMeshError) as error:
        print(error, file=sys.stderr)
        return 2
    _report(options, figures, judged, outcome, meter, cores)
    if outcome.faults.keys() & {"echo", *OURS}:
        return 2
    return 1 if options.strict and not all(verdict.met for verdict in judged) else 0


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        known = ", ".join(NAMES)
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {known}")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--rounds", type=_positive, default=5, help="interleaved rounds")
    parser.add_argument("--seconds", type=_positive, default=4, help="of each measurement")
    parser.add_argument(
        "--only", type=_names, default=[], metavar="NAMES", help=f"some of {','.join(NAMES)}"
    )
    parser.add_argument("--profile", action="store_true", help="sample the router as well")
    parser.add_argument("--strict", action="store_true", help="fail when a gate is not met")
    return parser


def _stay_on_cores() -> int:
    """Keeps this process, and so all it starts, on two cores; returns how many there are."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    return len(cores)


def _prepare(stack: contextlib.ExitStack, only: Sequence[str]) -> Field:
    """Starts what is asked for; a peer that cannot be had is said and left out."""
    wanted = set(only or NAMES)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    upstream = stack.enter_context(fixed_upstream())
    ground = Field(upstream, pids=[upstream.pid])
    if "echo" in wanted:
        target = stack.enter_context(echo_behind_envoy(folder, upstream.answer()))
        ground.contenders.append(Contender("echo", target, Reaches.NEVER, median=True))
    if wanted & set(OURS):
        ground.mesh = stack.enter_context(mesh_before(upstream, folder / "mesh"))
        ground.pids += ground.mesh.pids.values()
        ground.contenders += _ours(ground.mesh)
    for name, start in PEERS.items():
        if wanted & {name, f"{name}_hit"}:
            try:
                peer = stack.enter_context(start(upstream, folder))
            except peers.PeerUnavailable as error:
                ground.faults[name] = str(error)
                _say(f"{name} cannot be measured: {error}")
                continue
            ground.others[name] = peer
            ground.pids += peer.pids
            ground.contenders += peer.contenders
            ground.faults.update(peer.faults)
    ground.contenders = [one for one in ground.contenders if one.name in wanted]
    return ground


def _ours(mesh: RunningMesh) -> list[Contender]:
    return [
        Contender("hit", mesh.target(), Reaches.NEVER, median=True, tail=True),
        Contender("miss", mesh.target(), Reaches.EACH, median=True, tail=True),
        Contender("stream", mesh.target(stream=True), Reaches.EACH),
    ]


def _figures(ground: Field, outcome: Outcome) -> dict[str, Figure]:
    measured: dict[str, Figure] = {name: outcome.median(name) for name in FIGURES}
    return {**measured, **ground.memory()}


def _report(
    options: argparse.Namespace,
    figures: dict[str, Figure],
    judged: Sequence[Verdict],
    outcome: Outcome,
    meter: Meter,
    cores: int,
) -> None:
    others = statistics.median(meter.neighbours or [0.0])
    settled = {name: max(values) for name, values in meter.settled.items()}
    report(
        "overhead-partial" if options.only else "overhead",
        figures,
        method=(
            f"{cores} cores; wrk, 1 thread, {options.seconds} s a measurement, medians of "
            f"{options.rounds} interleaved rounds, a pause until all is idle between any two; rps "
            f"at {CONNECTIONS} connections, p50 at 1; p99 from an open loop at half of the "
            "measured rps: requests are sent when due, whether or not others are answered; "
            "memory after the load; ours with auth, cache and ledger on; Portkey without auth, "
            "LiteLLM with its master key, both without a ledger; stream is of new questions"
        ),
        data="one question (hits) or new ones, one simulator upstream with one fixed answer",
        details={
            "gates": [str(verdict) for verdict in judged],
            "not_measured": outcome.faults,
            "samples": outcome.samples,
            "notes": outcome.notes,
            "settle_s": settled,
            "others_percent": {"median": others, "max": max(meter.neighbours or [0.0])},
        },
    )
    for name, seconds in settled.items():
        if seconds > 1:
            print(f"{name}: work went on for up to {seconds:.1f} s after the load")
    for name, note in outcome.notes.items():
        print(f"{name} {note:.2f}")
    for name, why in outcome.faults.items():
        print(f"{name} not measured: {why}")
    print("\n".join(str(verdict) for verdict in judged))
    if others > QUIET_PERCENT:
        print(
            f"NOT a quiet machine: others used {others:.0f} % of it. Contenders of one process "
            "suffer more than those of several: these figures do not compare."
        )


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
