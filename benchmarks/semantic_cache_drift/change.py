"""A stream in whose middle half of the answers change and questions come that look like others."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.semantic_cache.embedding import Floats

CHANGED = 0.5
"""Share of the labels whose questions have another answer from the middle on."""
BURST = 200
"""Hard negatives that come first then."""
_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Changing:
    """A stream with a change.

    Attributes:
        order: positions of the questions asked, in their order.
        answers: to each.
        changed_at: place in the order from which on answers are the new ones.
        burst: hard negatives that come from there on.
    """

    order: list[int]
    answers: list[str]
    changed_at: int
    burst: int


def changing(
    vectors: Floats, labels: Sequence[int], order: Sequence[int], seed: int, burst: int = BURST
) -> Changing:
    """Puts the change into an order.

    From the middle on every question of half of the labels, drawn by the seed, has another answer
    than before. Questions of the second half whose nearest one of the first has another label come
    first; the rest keeps its order.

    Args:
        vectors: of all questions, unit; shape (questions, dimension).
        labels: of all questions.
        order: positions of those asked.
        seed: of what changes.
        burst: hard negatives that come first, at most.
    """
    middle = len(order) // 2
    before, after = list(order[:middle]), list(order[middle:])
    names = sorted({labels[position] for position in order})
    moved = set(random.Random(seed).sample(names, int(CHANGED * len(names))))
    hard = _hard_negatives(vectors, labels, before, after)[:burst]
    first = set(hard)
    arranged = hard + [position for position in after if position not in first]
    answers = [str(labels[position]) for position in before]
    answers += [
        f"{labels[position]} now" if labels[position] in moved else str(labels[position])
        for position in arranged
    ]
    return Changing(before + arranged, answers, middle, len(hard))


def _hard_negatives(
    vectors: Floats, labels: Sequence[int], before: list[int], after: list[int]
) -> list[int]:
    stored = vectors[before]
    hard: list[int] = []
    for start in range(0, len(after), _AT_ONCE):
        asked = after[start : start + _AT_ONCE]
        nearest = np.argmax(vectors[asked] @ stored.T, axis=1)
        hard += [
            position
            for position, place in zip(asked, nearest, strict=True)
            if labels[before[int(place)]] != labels[position]
        ]
    return hard


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What came of the change.

    Attributes:
        requests_until_bound_holds: requests after the change until wrong answers are at most delta
            of all requests for good; 0: they always were.
        since_change: the same of the requests since the change alone; None: not within the stream.
        error_meanwhile: share of the requests answered wrongly from the change until they are at
            most delta of those since then, or until the end.
        served_wrong: wrong answers in that time.
    """

    requests_until_bound_holds: int
    since_change: int | None
    error_meanwhile: float
    served_wrong: int


def aftermath(wrongs: Sequence[int], changed_at: int, requests: int, delta: float) -> Aftermath:
    """Reads it off the places of the wrong answers.

    Args:
        wrongs: requests answered wrongly, counted from 1, ascending.
        changed_at: requests before the change.
        requests: in all.
        delta: share permitted.
    """
    flags = np.zeros(requests + 1, np.int64)
    flags[list(wrongs)] = 1
    sums = np.cumsum(flags)
    places = np.arange(requests + 1)
    over = np.flatnonzero((sums > delta * places) & (places > changed_at))
    until = int(over[-1]) + 1 - changed_at if len(over) else 0
    late, since = sums - sums[changed_at], places - changed_at
    over_since = np.flatnonzero((late > delta * since) & (since > 0))
    settled = int(over_since[-1]) + 1 - changed_at if len(over_since) else 0
    end = min(changed_at + settled, requests)
    meanwhile = int(sums[end] - sums[changed_at])
    share = meanwhile / (end - changed_at) if settled else 0.0
    held = settled if changed_at + settled <= requests else None
    return Aftermath(until, held, share, meanwhile)
