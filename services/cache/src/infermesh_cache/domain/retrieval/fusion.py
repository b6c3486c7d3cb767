"""One ranking out of several."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]
Groups = npt.NDArray[np.int64]

RRF_K = 60
"""Of the paper."""


def reciprocal_rank_fusion(rankings: Sequence[Scores]) -> Scores:
    """Sum over the rankings of 1 / (60 + rank): Cormack, Clarke and Buettcher, SIGIR 2009.

    Args:
        rankings: scores of the same items, at least one; more is better. Items of equal score are
            ranked in their order.
    """
    total = np.zeros(len(rankings[0]), np.float64)
    for scores in rankings:
        order = np.argsort(-scores, kind="stable")
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(1, len(order) + 1)
        total += 1 / (RRF_K + ranks)
    return total.astype(np.float32)


def standardised_sum(rankings: Sequence[Scores]) -> Scores:
    """Sum of the scores, each ranking's brought to mean 0 and deviation 1: unlike ranks, they know
    by how much the first is better than the second."""
    total = np.zeros(len(rankings[0]), np.float64)
    for scores in rankings:
        deviation = float(scores.std())
        if deviation > 0:
            total += (scores - scores.mean()) / deviation
    return total.astype(np.float32)


def best_of_groups(scores: Scores, groups: Groups, count: int) -> Scores:
    """The highest score within each group.

    Args:
        scores: of the items.
        groups: of each item, from 0 to `count` - 1; each has an item.
        count: of groups.
    """
    best = np.full(count, -np.inf, np.float32)
    np.maximum.at(best, groups, scores)
    return best


def with_evidence(scores: Scores, documents: Scores, weight: float) -> Scores:
    """Scores of chunks with so much of the score of the document of each: a passage of a document
    that is about the question is likelier to be the right one.

    Args:
        scores: of the chunks.
        documents: score of each chunk's document.
        weight: of the latter; 1 counts both alike.
    """
    return (scores + np.float32(weight) * documents).astype(np.float32)
