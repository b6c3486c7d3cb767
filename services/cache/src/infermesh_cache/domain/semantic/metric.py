"""A metric learnt from which entries share an answer.

Two prompts with the same answer differ in ways that do not matter; the covariance of those
differences says along which directions of the embedding space. Whitening by it, and keeping the
directions along which answers differ most, is linear discriminant analysis with the two-covariance
model (Ioffe, "Probabilistic Linear Discriminant Analysis", ECCV 2006; Brummer and de Villiers, "The
Speaker Partitioning Problem", Odyssey 2010). The within-answer covariance is shrunk towards a
multiple of the identity by the oracle approximating estimator (Chen, Wiesel, Eldar and Hero,
"Shrinkage Algorithms for MMSE Covariance Estimation", IEEE Transactions on Signal Processing,
2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infermesh_cache.domain.semantic.packing import pack, unpack

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

RANK = 128
FEWEST_DIFFERENCES = 30
"""Entries beyond the first of their answer below which there is nothing to learn from."""
_LEAST_RATIO = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class AnswerMetric:
    """A linear map of embeddings.

    Attributes:
        centre: mean embedding, shape (dimension,).
        directions: shape (dimension, rank); differences within an answer have unit variance along
            each of them.
        ratios: variance between answers along each direction, in units of that within; shape
            (rank,).
    """

    centre: Floats
    directions: Floats
    ratios: Floats

    @classmethod
    def plain(cls, dimension: int) -> "AnswerMetric":
        """The metric of the embedding itself, for want of anything learnt."""
        return cls(
            centre=np.zeros(dimension, np.float32),
            directions=np.eye(dimension, dtype=np.float32) * np.float32(np.sqrt(dimension)),
            ratios=np.ones(dimension, np.float32),
        )

    @classmethod
    def fit(
        cls, vectors: Floats, answers: Sequence[str], rank: int = RANK
    ) -> "AnswerMetric | None":
        """Learns it from entries; None when too few of them share an answer.

        Args:
            vectors: shape (entries, dimension).
            answers: identity of the answer of each.
            rank: how many directions are kept at most.
        """
        _, member, counts = np.unique(np.asarray(answers), return_inverse=True, return_counts=True)
        freedom = int((counts - 1).sum())
        if freedom < FEWEST_DIFFERENCES:
            return None
        data = vectors.astype(np.float64)
        means = np.zeros((len(counts), data.shape[1]))
        np.add.at(means, member, data)
        means /= counts[:, None]
        centre = data.mean(axis=0)
        residuals = data - means[member]
        within = _shrunk(residuals.T @ residuals / freedom, freedom)
        spread = means - centre
        # The means scatter for two reasons; one of them is that each is of few entries.
        between = spread.T @ spread / len(counts) - within * float((1 / counts).mean())
        variances, axes = np.linalg.eigh(within)
        whiten = axes / np.sqrt(variances)
        seen = whiten.T @ between @ whiten
        ratios, turn = np.linalg.eigh((seen + seen.T) / 2)
        best = slice(None, -rank - 1, -1)
        return cls(
            centre=centre.astype(np.float32),
            directions=(whiten @ turn[:, best]).astype(np.float32),
            ratios=np.maximum(ratios[best], _LEAST_RATIO).astype(np.float32),
        )

    def project(self, vectors: Floats) -> Floats:
        """Embeddings, shape (..., dimension), in the learnt space: shape (..., rank)."""
        projected: Floats = np.asarray((vectors - self.centre) @ self.directions, np.float32)
        return projected

    def state(self) -> dict[str, object]:
        """What `restore` takes; of JSON's types."""
        return {
            "centre": pack(self.centre),
            "directions": pack(self.directions),
            "ratios": pack(self.ratios),
        }

    @classmethod
    def restore(cls, state: Mapping[str, object]) -> "AnswerMetric":
        """The metric whose `state` that is."""
        return cls(
            centre=unpack(state["centre"], np.float32),
            directions=unpack(state["directions"], np.float32),
            ratios=unpack(state["ratios"], np.float32),
        )


def _shrunk(covariance: Doubles, freedom: int) -> Doubles:
    """The oracle approximating shrinkage of a sample covariance of `freedom` degrees."""
    dimension = covariance.shape[0]
    trace = float(np.trace(covariance))
    square = float((covariance * covariance).sum())
    above = (1 - 2 / dimension) * square + trace**2
    below = (freedom + 1 - 2 / dimension) * (square - trace**2 / dimension)
    share = min(1.0, above / below) if below > 0 else 1.0
    shrunk: Doubles = (1 - share) * covariance + share * trace / dimension * np.eye(dimension)
    return shrunk
