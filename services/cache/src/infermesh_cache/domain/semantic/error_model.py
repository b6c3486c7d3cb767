"""ErrorModel: the probability that a proposed answer is wrong, from its features.

Bayesian logistic regression by Laplace's approximation (MacKay, "The Evidence Framework Applied to
Classification Networks", Neural Computation 1992): the posterior variance of the log-odds moderates
the prediction, so that little data or an unusual question gives a probability near the middle
instead of false confidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infermesh_cache.domain.semantic.packing import pack, unpack

Doubles = npt.NDArray[np.float64]

PRIOR_PRECISION = 3.0
"""Of each weight, features having unit variance: one standard deviation moves the odds by a factor
of less than two unless the data say otherwise."""
FOCUS = 0.15
"""Examples that are likely wrong count less: the fit is for the probabilities at which one
serves."""
_INTERCEPT_PRECISION = 0.01
_STEPS = 25
_CLOSE = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class ErrorModel:
    """A fitted model; immutable, so that it can be replaced while in use.

    Attributes:
        centre: of the features.
        scale: of the features.
        weights: intercept first.
        covariance: of the weights.
        examples: how many it was fitted on.
    """

    centre: Doubles
    scale: Doubles
    weights: Doubles
    covariance: Doubles
    examples: int

    @classmethod
    def fit(
        cls, features: Doubles, wrong: Doubles, prior: "ErrorModel | None" = None
    ) -> "ErrorModel":
        """Fits it to labelled proposals.

        Args:
            features: shape (examples, features).
            wrong: 1 where the proposed answer was wrong, else 0; shape (examples,).
            prior: fitted on others' examples; the weights are drawn towards its weights instead of
                towards 0.
        """
        if prior is None:
            centre, scale = features.mean(axis=0), features.std(axis=0)
            scale = np.where(scale > 1e-6, scale, 1.0)
            mean = np.zeros(features.shape[1] + 1)
        else:
            centre, scale, mean = prior.centre, prior.scale, prior.weights
        design = _design(features, centre, scale)
        precision = np.full(design.shape[1], PRIOR_PRECISION)
        precision[0] = _INTERCEPT_PRECISION if prior is None else PRIOR_PRECISION
        importance = np.ones(len(wrong))
        weights, curvature = _posterior(design, wrong, importance, mean, precision, mean)
        for _ in range(2):
            importance = 1 / (1 + _logistic(design @ weights) / FOCUS)
            weights, curvature = _posterior(design, wrong, importance, mean, precision, weights)
        covariance: Doubles = np.asarray(np.linalg.inv(curvature), np.float64)
        return cls(centre, scale, weights, covariance, len(wrong))

    def probability(self, features: Doubles) -> float:
        """That a proposal with these features, shape (features,), is wrong."""
        row = _design(features[None, :], self.centre, self.scale)[0]
        variance = float(row @ self.covariance @ row)
        return float(_logistic(np.array(row @ self.weights / np.sqrt(1 + np.pi * variance / 8))))

    def state(self) -> dict[str, object]:
        """What `restore` takes; of JSON's types."""
        return {
            "centre": pack(self.centre),
            "scale": pack(self.scale),
            "weights": pack(self.weights),
            "covariance": pack(self.covariance),
            "examples": self.examples,
        }

    @classmethod
    def restore(cls, state: Mapping[str, object]) -> "ErrorModel":
        """The model whose `state` that is."""
        return cls(
            centre=unpack(state["centre"], np.float64),
            scale=unpack(state["scale"], np.float64),
            weights=unpack(state["weights"], np.float64),
            covariance=unpack(state["covariance"], np.float64),
            examples=int(str(state["examples"])),
        )


def _design(features: Doubles, centre: Doubles, scale: Doubles) -> Doubles:
    """Features standardised, a column of ones before them; far outliers are pulled in."""
    standard = np.clip((features - centre) / scale, -8.0, 8.0)
    return np.concatenate([np.ones((len(standard), 1)), standard], axis=1)


def _posterior(
    design: Doubles,
    wrong: Doubles,
    importance: Doubles,
    mean: Doubles,
    precision: Doubles,
    start: Doubles,
) -> tuple[Doubles, Doubles]:
    """Mode and curvature of the posterior, by Newton's method with halved steps."""
    weights = start

    def loss(candidate: Doubles) -> float:
        odds = design @ candidate
        fit = importance @ (np.logaddexp(0, odds) - wrong * odds)
        return float(fit + 0.5 * precision @ (candidate - mean) ** 2)

    current = loss(weights)
    for _ in range(_STEPS):
        chance = _logistic(design @ weights)
        slope = design.T @ (importance * (chance - wrong)) + precision * (weights - mean)
        curvature = _curvature(design, importance, chance, precision)
        step = np.linalg.solve(curvature, slope)
        for halving in range(12):
            candidate = weights - step / 2**halving
            reached = loss(candidate)
            if reached <= current:
                break
        else:
            break
        moved = float(np.abs(candidate - weights).max())
        weights, current = candidate, reached
        if moved < _CLOSE:
            break
    chance = _logistic(design @ weights)
    return weights, _curvature(design, importance, chance, precision)


def _curvature(
    design: Doubles, importance: Doubles, chance: Doubles, precision: Doubles
) -> Doubles:
    weighted = design * (importance * chance * (1 - chance))[:, None]
    curvature: Doubles = weighted.T @ design
    curvature[np.diag_indices_from(curvature)] += precision
    return curvature


def _logistic(odds: Doubles) -> Doubles:
    clipped = np.clip(odds, -40.0, 40.0)
    chance: Doubles = 1 / (1 + np.exp(-clipped))
    return chance
