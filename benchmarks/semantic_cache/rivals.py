"""What stands beside ours: the ideal, the best static threshold in hindsight, and vCache's rule.

vCache (Schroeder et al., "vCache: Verified Semantic Prompt Caching", 2025) models for each stored
question how likely its answer is right given the similarity of what is asked, by a logistic curve
with a threshold and a slope of that question's own, and asks the model with the probability that
keeps the error at delta whatever the threshold within its confidence band. Written from the paper.
"""

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm

from benchmarks.semantic_cache.embedding import Floats
from benchmarks.semantic_cache.replay import Run

Doubles = npt.NDArray[np.float64]
_LEVELS: Doubles = np.linspace(0.0005, 0.3, 60)
"""Probabilities of error of the confidence band that are tried; the best of them holds."""
_RIDGE = 1e-5
"""Keeps the curve of outcomes that one similarity parts from being a step."""
_CENTRE = 0.8
_FEWEST = 6
"""Outcomes, of which two are given, below which a question's answer is never served."""


def ideal_hits(labels: Sequence[int]) -> int:
    """Requests whose label came before."""
    return len(labels) - len(set(labels))


def best_static_hits(vectors: Floats, labels: Sequence[int], delta: float) -> int:
    """Most hits of a threshold on the cosine of which at most a share `delta` of all requests is
    answered wrongly, chosen with all labels known. What a threshold serves is not stored, so each
    is run through; of those tried the best one counts.
    """
    best = 0
    for threshold in np.arange(0.5, 1.0, 0.01):
        hits, wrong = _static(vectors, labels, float(threshold))
        if wrong <= delta * len(labels):
            best = max(best, hits)
    return best


def _static(vectors: Floats, labels: Sequence[int], threshold: float) -> tuple[int, int]:
    stored = np.zeros_like(vectors)
    answers: list[int] = []
    hits = wrong = 0
    for vector, label in zip(vectors, labels, strict=True):
        if answers:
            similarities = stored[: len(answers)] @ vector
            nearest = int(similarities.argmax())
            if similarities[nearest] >= threshold:
                hits += 1
                wrong += answers[nearest] != label
                continue
        stored[len(answers)] = vector
        answers.append(label)
    return hits, wrong


class _Curve:
    """Right or wrong by similarity, of one stored question.

    What has no similarity at all is wrong and what is the same is right, from the start: without
    that a curve of outcomes of one kind has no threshold.
    """

    def __init__(self) -> None:
        self._similarities = [0.0, 1.0]
        self._right = [False, True]
        self._fitted: tuple[float, float, float] | None = None

    def add(self, similarity: float, right: bool) -> None:
        """Takes an outcome."""
        self._similarities.append(similarity)
        self._right.append(right)
        self._fitted = None

    def asking(self, similarity: float, delta: float) -> float:
        """Probability with which the model is asked: the least t with t + (1 - t) p >= 1 - delta,
        p being the least probability within the confidence band that the answer is right."""
        if len(self._right) < _FEWEST:
            return 1.0
        if self._fitted is None:
            self._fitted = self._fit()
        threshold, slope, deviation = self._fitted
        if slope <= 0:
            return 1.0
        upper = threshold + norm.ppf(1 - _LEVELS) * deviation
        right = (1 - _LEVELS) * expit(slope * (similarity - upper))
        return float(np.clip((1 - delta / (1 - right)).min(), 0.0, 1.0))

    def _fit(self) -> tuple[float, float, float]:
        """Threshold, slope, and the threshold's standard deviation (delta method)."""
        x, y = np.array(self._similarities), np.array(self._right, float)

        def loss(parameters: Doubles) -> float:
            odds = parameters[0] + parameters[1] * (x - _CENTRE)
            likelihood = np.logaddexp(0, odds) - y * odds
            return float(likelihood.sum() + 0.5 * _RIDGE * (parameters @ parameters))

        offset, slope = minimize(loss, np.array([0.0, 10.0]), method="BFGS").x
        chance = expit(offset + slope * (x - _CENTRE))
        weights = chance * (1 - chance)
        design = np.stack([np.ones_like(x), x - _CENTRE], axis=1)
        information = design.T @ (design * weights[:, None]) + _RIDGE * np.eye(2)
        gradient = np.array([-1 / slope, offset / slope**2])
        variance = float(gradient @ np.linalg.inv(information) @ gradient)
        return _CENTRE - offset / slope, float(slope), variance**0.5


def vcache(vectors: Floats, labels: Sequence[int], delta: float, seed: int) -> Run:
    """An order by its rule."""
    chance = random.Random(seed)
    run = Run()
    stored = np.zeros_like(vectors)
    answers: list[int] = []
    curves: list[_Curve] = []
    for vector, label in zip(vectors, labels, strict=True):
        run.requests += 1
        if answers:
            similarities = stored[: len(answers)] @ vector
            nearest = int(similarities.argmax())
            similarity = float(similarities[nearest])
            right = answers[nearest] == label
            if chance.random() > curves[nearest].asking(similarity, delta):
                run.hits += 1
                run.wrong += not right
                continue
            run.explored += 1
            curves[nearest].add(similarity, right)
            if right:
                continue
        stored[len(answers)] = vector
        answers.append(label)
        curves.append(_Curve())
    return run
