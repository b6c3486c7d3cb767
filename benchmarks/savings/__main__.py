"""`make bench-savings`: what the mesh saves against one good model, and at what quality."""

import argparse
import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.processes import NotReady
from benchmarks.report import ROOT, Figure, report
from benchmarks.savings import figures, semantic
from benchmarks.savings.arrivals import EXPONENT, TEAMS
from benchmarks.savings.books import account, worth
from benchmarks.savings.dataset import Dataset, DatasetError, dataset_folder, load
from benchmarks.savings.evidence import CONFIDENCE, RELATIVE_ACCURACY
from benchmarks.savings.fit import CannotFit
from benchmarks.savings.offline import Comparison, Plan, compare, plan
from benchmarks.savings.provider import ReplayProvider, replaying
from benchmarks.savings.replay import CONNECTIONS, Replayer, ReplayError
from benchmarks.savings.resources import REFERENCE_TENANT, resource_name, team_tenant
from benchmarks.savings.stand import RunningMesh, mesh
from infermesh_local import LocalMeshError

REFERENCE = "gpt-4o-2024-08-06"
SEED = 0
SPLITS = 7


async def through_the_mesh(
    dataset: Dataset, planned: Plan, running: RunningMesh, provider: ReplayProvider
) -> figures.Outcome:
    """All arrivals, as the teams send them and, for comparison, all to the reference."""
    replayer = Replayer(running.url, dataset)
    arrivals, reference = planned.arrivals, planned.fitted.operator.reference
    teams = len(running.team_keys)
    answers = await replayer.run(arrivals, running.team_keys)
    caches = Counter(answer.cache for answer in answers)
    told = ", ".join(f"{count} {cache}" for cache, count in caches.most_common())
    print(f"  {len(answers)} arrivals answered; what the cache said: {told}")
    keys = [running.reference_key] * teams
    reference_answers = await replayer.run(arrivals, keys, resource_name(reference))
    print(f"  {len(reference_answers)} answered by {reference} alone, without a cache")
    ledger = running.settled_ledger(2 * len(arrivals))
    ours = account(ledger, dataset, map(team_tenant, range(teams)))
    alone = account(ledger, dataset, [REFERENCE_TENANT])
    everything = account(ledger, dataset, {row.tenant for row in ledger})
    counted = provider.counted()
    return figures.Outcome(
        answers=answers,
        reference_answers=reference_answers,
        ours=ours,
        reference=alone,
        ledger_off=float(everything.cost - worth(dataset, counted)),
        tokens_equal=dict(everything.tokens) == counted,
    )


def run_mesh(dataset: Dataset, folder: Path, planned: Plan) -> figures.Outcome:
    """Starts everything, replays, stops everything."""
    with tempfile.TemporaryDirectory() as state, replaying(folder) as provider:
        operator = planned.fitted.operator
        with mesh(Path(state) / "mesh", dataset, operator, provider.base_url) as running:
            return asyncio.run(through_the_mesh(dataset, planned, running, provider))


def print_plan(planned: Plan) -> None:
    """What the fit found."""
    fitted = planned.fitted
    print(f"Fitted on {planned.prompts[0]} prompts, replayed {planned.prompts[1]} others:")
    for task, evidence in fitted.evidence.items():
        floor = fitted.operator.floors[task]
        answered = ", ".join(evidence.models)
        print(
            f"  {task}: floor {floor:.4f}, answered by {answered}, {evidence.correct.mean:.4f} "
            f"right, ${evidence.cost_usd:.6f} a prompt"
        )
    word = "kept" if fitted.promise.kept else "NOT kept by any floors; the nearest are taken"
    print(
        f"  with {CONFIDENCE:.0%} confidence each: right - 0.95 x reference's >= "
        f"{fitted.promise.margin:.4f}, right >= {fitted.promise.correct:.4f}: {word}"
    )


def describe(dataset: Dataset, planned: Plan, beside: Comparison) -> tuple[str, str]:
    """Method and data, in words."""
    method = (
        f"{CONNECTIONS} connections of the openai client -> Envoy -> router, cache, governance, "
        f"analytics -> simulator replaying records; {TEAMS} teams, each a tenant whose prompts "
        f"repeat by a Zipf law of exponent {EXPONENT}; dollars from the ledger; floors: the "
        f"cheapest that promise {RELATIVE_ACCURACY} of the reference's accuracy with "
        f"{CONFIDENCE:.0%} confidence; reference: {REFERENCE}; best single model in hindsight: "
        f"{beside.single_name}; single model that the fit would trust: {beside.fitted_single_name}"
    )
    data = (
        f"{dataset.name}, split seed {planned.seed}: {planned.prompts[0]} prompts for fitting, "
        f"{planned.prompts[1]} others for the replay"
    )
    return method, data


def over_splits(dataset: Dataset, seeds: Sequence[int]) -> dict[str, object]:
    """Prints how the figures vary from split to split; returns the same for the file."""
    print(f"By the records alone, split seeds {seeds[0]} to {seeds[-1]}, median (range):")
    each = [compare(dataset, plan(dataset, REFERENCE, seed)) for seed in seeds]
    found = figures.spreads(each)
    for name, values in found.items():
        print(f"  {name} {values}")
    enough = figures.accurate_enough(each)
    print(f"  relative accuracy of {RELATIVE_ACCURACY} kept in {enough} of {len(each)}")
    return {
        "seeds": list(seeds),
        "accurate_enough": enough,
        **{name: asdict(values) for name, values in found.items()},
    }


def semantic_workload(dataset: Dataset, seed: int, requests: int) -> dict[str, Figure]:
    """Figures of the semantic workload; none when it is left out."""
    if not requests:
        return {}
    print(
        f"Semantic workload: {requests} questions of {semantic.QUESTIONS}, arrivals of Azure's "
        f"conversations {semantic.SPEED} times as fast, at the price of {REFERENCE}; at most "
        f"{semantic.DELTA:.0%} wrong"
    )
    with tempfile.TemporaryDirectory() as state:
        return dict(semantic.run(Path(state) / "mesh", dataset.prices[REFERENCE], seed, requests))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-savings", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="of the split that is replayed")
    parser.add_argument(
        "--splits", type=_positive, default=SPLITS, help="how many more, by the records"
    )
    parser.add_argument(
        "--semantic-requests",
        type=int,
        default=semantic.REQUESTS,
        help="of the semantic workload; 0 leaves it out",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a gate is not met")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark; 2 when it cannot run here."""
    chosen = _arguments(arguments)
    folder = dataset_folder(ROOT, os.environ)
    try:
        dataset = load(folder)
        planned = plan(dataset, REFERENCE, chosen.seed)
        print_plan(planned)
        outcome = run_mesh(dataset, folder, planned)
        splits = over_splits(dataset, range(chosen.seed, chosen.seed + chosen.splits))
        by_meaning = semantic_workload(dataset, chosen.seed, chosen.semantic_requests)
    except (DatasetError, CannotFit, NotReady, LocalMeshError, ReplayError) as error:
        print(error, file=sys.stderr)
        return 2
    beside = compare(dataset, planned)
    found = figures.main_figures(planned, outcome, beside)
    gates = figures.gates(found, outcome)
    method, data = describe(dataset, planned, beside)
    details: dict[str, object] = {
        "gates": [asdict(gate) for gate in gates],
        "floors": dict(planned.fitted.operator.floors),
        "spend_usd": f"{outcome.ours.cost:f}",
        "always_reference_usd": f"{outcome.reference.cost:f}",
        "splits": splits,
    }
    report("savings", found | by_meaning, method=method, data=data, details=details)
    for gate in gates:
        print(gate)
    return 1 if chosen.strict and not all(gate.met for gate in gates) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
