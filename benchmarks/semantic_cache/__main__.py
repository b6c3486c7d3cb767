"""Streams a labelled set through what decides in the semantic cache, in random orders.

DATASET=<folder> takes one of the layout of banking77, clinc150 or qqp_gptcache; without it those
three below INFERMESH_DATA. DELTA=0.01 is the share of all requests that may be answered wrongly,
ORDERS=20 how often, REQUESTS=8000 how many, MODEL=minilm-int8 the embedding. No label of the future
is used: a label is known when its question has gone to the model.
"""

import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.report import OUT, ROOT, Figure, report
from benchmarks.semantic_cache import rivals
from benchmarks.semantic_cache.embedding import MODELS, Floats, vectors_of
from benchmarks.semantic_cache.gates import verdicts
from benchmarks.semantic_cache.labelled import Labelled, NoSuchSet, read
from benchmarks.semantic_cache.plot import draw
from benchmarks.semantic_cache.replay import Run, replay
from infermesh_cache.domain.semantic.wording import Wording

USUAL = ("banking77", "clinc150", "qqp_gptcache")
_RIVAL_ORDERS = 3
"""Orders in which the rivals are run: they vary little, and vCache's rule is slow."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is run.

    Attributes:
        folder: of the set.
        model: of the embedding.
        delta: share of all requests that may be answered wrongly.
        requests: of an order.
    """

    folder: Path
    model: str
    delta: float
    requests: int


@dataclass(frozen=True, slots=True)
class Order:
    """What came of an order.

    Attributes:
        ours: by the objects of the service.
        vcache: by its rule; None: not run.
        static: most hits of a static threshold in hindsight; None: not run.
        ideal: hits, had every label been known.
    """

    ours: Run
    vcache: Run | None
    static: int | None
    ideal: int


_loaded: dict[Path, tuple[Labelled, Floats, list[Wording]]] = {}


def _load(task: Task) -> tuple[Labelled, Floats, list[Wording]]:
    if task.folder not in _loaded:
        found = read(task.folder)
        vectors = vectors_of(task.model, found.texts)
        _loaded[task.folder] = found, vectors, [Wording.of(text) for text in found.texts]
    return _loaded[task.folder]


def run_order(task: Task, seed: int) -> Order:
    """One order of a set, by ours and, for some, by the rivals."""
    found, vectors, wordings = _load(task)
    stream = found.stream(seed, task.requests)
    labels = [found.labels[position] for position in stream]
    drawn = vectors[stream]
    ours = replay(drawn, [wordings[p] for p in stream], labels, task.delta, seed + 1000)
    ideal = rivals.ideal_hits(labels)
    if seed >= _RIVAL_ORDERS:
        return Order(ours, None, None, ideal)
    static = rivals.best_static_hits(drawn, labels, task.delta)
    return Order(ours, rivals.vcache(drawn, labels, task.delta, seed + 2000), static, ideal)


def figures_of(orders: list[Order], delta: float) -> dict[str, float]:
    """The figures of one set."""
    ours = [order.ours for order in orders]
    rival = [order.vcache for order in orders if order.vcache is not None]
    static = [order.static for order in orders if order.static is not None]
    requests = ours[0].requests
    return {
        "hit_rate": float(np.mean([run.hits / run.requests for run in ours])),
        "error_over_all": float(np.mean([run.wrong / run.requests for run in ours])),
        "orders_over_delta": float(np.mean([run.wrong > delta * run.requests for run in ours])),
        "orders_ever_over_delta": float(np.mean([bool(run.passed_at) for run in ours])),
        "explored_share": float(np.mean([run.explored / run.requests for run in ours])),
        "ideal_hit_rate": float(np.mean([order.ideal for order in orders])) / requests,
        "best_static_hit_rate": float(np.mean(static)) / requests,
        "vcache_hit_rate": float(np.mean([run.hits / run.requests for run in rival])),
        "vcache_error_over_all": float(np.mean([run.wrong / run.requests for run in rival])),
    }


def _points(orders: list[Order], delta: float) -> dict[str, list[tuple[float, float]]]:
    def of(run: Run) -> tuple[float, float]:
        return run.wrong / run.requests, run.hits / run.requests

    requests = orders[0].ours.requests
    static = [order.static for order in orders if order.static is not None]
    return {
        "ours": [of(order.ours) for order in orders],
        "best static threshold, in hindsight": [(delta, hits / requests) for hits in static],
        "vCache's rule": [of(order.vcache) for order in orders if order.vcache is not None],
        "ideal": [(0.0, orders[0].ideal / requests)],
    }


def folders(environment: Mapping[str, str]) -> list[Path]:
    """The sets to run.

    Raises:
        NoSuchSet: there is none.
    """
    if named := environment.get("DATASET"):
        wanted = [Path(named)]
    else:
        data = Path(environment.get("INFERMESH_DATA") or ROOT.parent / "shared" / "data")
        wanted = [data / name for name in USUAL]
    for folder in wanted:
        if not folder.is_dir():
            raise NoSuchSet(f"{folder} is not there: set DATASET to a folder, or INFERMESH_DATA")
    return wanted


def main(environment: Mapping[str, str]) -> int:
    """0: every gate met; 1: one was not; 2: there is nothing to run."""
    delta, count = float(environment.get("DELTA", "0.01")), int(environment.get("ORDERS", "20"))
    requests, model = int(environment.get("REQUESTS", "8000")), environment.get("MODEL", "")
    model = model or next(iter(MODELS))
    try:
        tasks = [Task(folder, model, delta, requests) for folder in folders(environment)]
        for task in tasks:
            _load(task)
    except (NoSuchSet, KeyError) as error:
        print(f"bench-semantic-cache: {error}", file=sys.stderr)
        return 2
    figures: dict[str, Figure] = {}
    lines: list[str] = []
    # Workers take over what is loaded.
    with ProcessPoolExecutor(max_workers=2) as pool:
        for task in tasks:
            began = time.monotonic()
            orders = list(pool.map(run_order, [task] * count, range(count)))
            name = task.folder.name
            found = figures_of(orders, delta)
            figures |= {f"{name}.{figure}": round(value, 4) for figure, value in found.items()}
            gates = verdicts(name, delta, found["hit_rate"], found["orders_over_delta"])
            lines += [f"{name}: {gate}" for gate in gates]
            picture = OUT / f"semantic_cache_{name}_{delta:g}.svg"
            draw(picture, f"{name}, delta = {delta:g}", delta, _points(orders, delta))
            print(f"{name}: {count} orders in {time.monotonic() - began:.0f} s, {picture.name}")
    for line in lines:
        print(line)
    report(
        f"semantic-cache-{delta:g}",
        figures,
        method=f"{count} random orders of {requests} requests; {model}; exact search; a question "
        "that goes to the model becomes an entry; rivals in the first "
        f"{min(count, _RIVAL_ORDERS)} orders",
        data=", ".join(task.folder.name for task in tasks),
        details={"gates": lines},
    )
    return 1 if any("NOT met" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
