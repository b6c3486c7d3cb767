"""One random order of a set, by ours and by the rivals, and the figures of several."""

from dataclasses import dataclass

import numpy as np

from benchmarks.semantic_cache import rivals
from benchmarks.semantic_cache.replay import Run, replay
from benchmarks.semantic_cache.sets import Task, load

RIVAL_ORDERS = 3
"""Orders in which the rivals are run: they vary little, and vCache's rule is slow."""


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


def run_order(task: Task, seed: int) -> Order:
    """One order of a set, by ours and, for some, by the rivals."""
    found, vectors, wordings = load(task)
    stream = found.stream(seed, task.requests)
    labels = [found.labels[position] for position in stream]
    drawn = vectors[stream]
    ours = replay(drawn, [wordings[p] for p in stream], labels, task.delta, seed + 1000)
    ideal = rivals.ideal_hits(labels)
    if seed >= RIVAL_ORDERS:
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


def points(orders: list[Order], delta: float) -> dict[str, list[tuple[float, float]]]:
    """(error over all, hit rate) of each order, for the plot."""

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
