"""Streams a labelled set through what decides in the semantic cache, in random orders.

DATASET=<folder> takes one of the layout of banking77, clinc150 or qqp_gptcache; without it those
three below INFERMESH_DATA. DELTA=0.01 is the share of all requests that may be answered wrongly,
ORDERS=20 how often, REQUESTS=8000 how many, MODEL=minilm-int8 the embedding. No label of the future
is used: a label is known when its question has gone to the model. The first order goes through the
running service as well, unless SERVICE=0.
"""

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.report import OUT, Figure, report
from benchmarks.semantic_cache.gates import verdicts
from benchmarks.semantic_cache.labelled import NoSuchSet
from benchmarks.semantic_cache.orders import RIVAL_ORDERS, figures_of, points, run_order
from benchmarks.semantic_cache.plot import draw
from benchmarks.semantic_cache.service import Asked, through_the_mesh
from benchmarks.semantic_cache.sets import Task, folders, load, tasks_of

_PRICE = {"input": "2.5", "output": "10"}
_AT_ONCE = 2
"""Requests under way in the order through the service."""


def service_figures(task: Task) -> dict[str, float]:
    """The first order through the running service."""
    found, _, _ = load(task)
    asked = [
        Asked(found.texts[position], f"answer {found.labels[position]}")
        for position in found.stream(0, task.requests)
    ]
    with tempfile.TemporaryDirectory() as state:
        through = through_the_mesh(Path(state) / "mesh", asked, task.delta, _PRICE, _AT_ONCE)
    return {
        "service_hit_rate": through.share(lambda answer: answer.served),
        "service_error_over_all": through.share(lambda answer: answer.wrong),
        "service_error_bound_said": through.bound_said(),
        "service_explored_share": through.share(lambda answer: answer.explored),
    }


def main(environment: Mapping[str, str]) -> int:
    """0: every gate met; 1: one was not; 2: there is nothing to run."""
    count = int(environment.get("ORDERS", "20"))
    through_service = environment.get("SERVICE", "1") != "0"
    try:
        tasks = tasks_of(environment, folders(environment))
        for task in tasks:
            load(task)
    except (NoSuchSet, KeyError) as error:
        print(f"bench-semantic-cache: {error}", file=sys.stderr)
        return 2
    delta, model, requests = tasks[0].delta, tasks[0].model, tasks[0].requests
    figures: dict[str, Figure] = {}
    lines: list[str] = []
    # Workers take over what is loaded.
    with ProcessPoolExecutor(max_workers=2) as pool:
        for task in tasks:
            began = time.monotonic()
            orders = list(pool.map(run_order, [task] * count, range(count)))
            name = task.folder.name
            found = figures_of(orders, delta)
            if through_service:
                found |= service_figures(task)
            figures |= {f"{name}.{figure}": round(value, 4) for figure, value in found.items()}
            gates = verdicts(name, delta, found["hit_rate"], found["orders_over_delta"])
            lines += [f"{name}: {gate}" for gate in gates]
            picture = OUT / f"semantic_cache_{name}_{delta:g}.svg"
            draw(picture, f"{name}, delta = {delta:g}", delta, points(orders, delta))
            print(f"{name}: {time.monotonic() - began:.0f} s, {picture.name}")
    for line in lines:
        print(line)
    report(
        f"semantic-cache-{delta:g}",
        figures,
        method=f"{count} random orders of {requests} requests; {model}; exact search; a question "
        "that goes to the model becomes an entry; rivals in the first "
        f"{min(count, RIVAL_ORDERS)} orders"
        + ("; the first order also through the running service" if through_service else ""),
        data=", ".join(task.folder.name for task in tasks),
        details={"gates": lines},
    )
    return 1 if any("NOT met" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
