"""`make bench-semantic-cache-drift`: half of the answers change, and look-alikes come in a burst.

In the middle of a labelled stream, through the objects that the service runs, every question of
half of the labels gets another answer than before, and up to 200 questions come whose nearest
stored one has another label. What is served then is wrong until the tier notices. Figures, means
over the orders: `requests_until_bound_holds` (requests after the change until wrong answers are at
most delta of all requests, for good), `requests_until_bound_holds_since_change` (the same of those
since the change alone, errors saved up before not counted; orders in which that did not come count
with the whole rest), `error_meanwhile` (share of wrong answers until the latter). The burst gives
the change away; `without_burst` is the same without it.

DATASET=<folder>, DELTA=0.01, ORDERS=5, REQUESTS=8000, MODEL=minilm-int8 as of bench-semantic-cache.
"""

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks.report import Figure, report
from benchmarks.semantic_cache.labelled import NoSuchSet
from benchmarks.semantic_cache.replay import Replay
from benchmarks.semantic_cache.sets import Task, folders, load, tasks_of
from benchmarks.semantic_cache_drift.change import BURST, CHANGED, Aftermath, aftermath, changing


@dataclass(frozen=True, slots=True)
class Order:
    """What came of an order.

    Attributes:
        after: the change.
        noticed_after: requests from the change until learning began anew; None: it did not.
        hit_rates: before and after the change.
        rest: requests after the change.
    """

    after: Aftermath
    noticed_after: int | None
    hit_rates: tuple[float, float]
    rest: int


def run_order(task: Task, seed: int, burst: int) -> Order:
    """One order of a set."""
    found, vectors, wordings = load(task)
    stream = changing(vectors, found.labels, found.stream(seed, task.requests), seed, burst)
    stand = Replay(task.delta, vectors.shape[1], len(stream.order), seed + 1000)
    hits_before = 0
    for place, (position, answer) in enumerate(zip(stream.order, stream.answers, strict=True)):
        if place == stream.changed_at:
            hits_before = stand.run.hits
        stand.ask(vectors[position], wordings[position], answer)
    run = stand.run
    rest = run.requests - stream.changed_at
    noticed = [drift - stream.changed_at for drift in run.drifts if drift > stream.changed_at]
    return Order(
        aftermath(run.wrongs, stream.changed_at, run.requests, task.delta),
        noticed[0] if noticed else None,
        (hits_before / stream.changed_at, (run.hits - hits_before) / rest),
        rest,
    )


def figures_of(orders: list[Order]) -> dict[str, Figure]:
    """The figures of one set."""
    after = [order.after for order in orders]
    since = [
        order.rest if order.after.since_change is None else order.after.since_change
        for order in orders
    ]
    noticed = [order.noticed_after for order in orders if order.noticed_after is not None]
    return {
        "requests_until_bound_holds": _mean([one.requests_until_bound_holds for one in after]),
        "requests_until_bound_holds_since_change": _mean(since),
        "orders_not_held_since_change": sum(one.since_change is None for one in after),
        "error_meanwhile": _mean([one.error_meanwhile for one in after]),
        "wrong_meanwhile": _mean([one.served_wrong for one in after]),
        "requests_until_noticed": _mean(noticed) if noticed else None,
        "orders_not_noticed": sum(order.noticed_after is None for order in orders),
        "hit_rate_before": _mean([order.hit_rates[0] for order in orders]),
        "hit_rate_after": _mean([order.hit_rates[1] for order in orders]),
    }


def _mean(values: list[int] | list[float]) -> float:
    return round(float(np.mean(values)), 4)


def main(environment: Mapping[str, str]) -> int:
    """0: measured; 2: there is nothing to run."""
    count = int(environment.get("ORDERS", "5"))
    try:
        tasks = tasks_of(environment, folders(environment))
        for task in tasks:
            load(task)
    except (NoSuchSet, KeyError) as error:
        print(f"bench-semantic-cache-drift: {error}", file=sys.stderr)
        return 2
    figures: dict[str, Figure] = {}
    with ProcessPoolExecutor(max_workers=2) as pool:
        for task in tasks:
            for kind, burst in (("", BURST), ("without_burst.", 0)):
                orders = list(pool.map(run_order, [task] * count, range(count), [burst] * count))
                name = f"{task.folder.name}.{kind}"
                figures |= {f"{name}{key}": value for key, value in figures_of(orders).items()}
    report(
        "semantic-cache-drift",
        figures,
        method=f"{count} random orders of {tasks[0].requests} requests, delta {tasks[0].delta:g}; "
        f"from the middle on {CHANGED:.0%} of the labels have other answers, after up to {BURST} "
        "questions whose nearest stored one has another label",
        data=", ".join(task.folder.name for task in tasks),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
