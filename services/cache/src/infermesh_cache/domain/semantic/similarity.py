"""SimilarityCalculator: which answer the nearest entries propose, and the signs of its being right.

One cosine says little: a static threshold on it serves half of what can be served at the same
error. Here each answer among the nearest entries is weighed by several views that err differently:
the nearest entry, votes at two temperatures, kernel ridge regression (a vote that does not count
near duplicates twice), and all of these again in the learnt metric, with the posterior of the
two-covariance model. The features say how strong the proposed answer is in each view and by how
much it leads, so that an error model can weigh them.

Everything is a function of the question and its nearest entries; there is no state.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from infermesh_cache.domain.semantic.metric import AnswerMetric, Floats
from infermesh_cache.domain.semantic.wording import Wording, mismatches

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

NEAREST = 64
"""How many entries are asked for."""

FEATURES = (
    "similarity",
    "similarity_lead",
    "near_vote",
    "wide_vote",
    "learnt_near_vote",
    "learnt_wide_vote",
    "learnt_similarity_lead",
    "posterior",
    "smooth_posterior",
    "ridge",
    "ridge_lead",
    "smooth_ridge",
    "smooth_ridge_lead",
    "learnt_ridge",
    "learnt_ridge_lead",
    "centroid",
    "centroid_lead",
    "support",
    "answers",
    "entries",
    "agreement",
    "among_five",
    "among_ten",
    "overlap",
    "overlap_lead",
    "wording_vote",
    "numbers_differ",
    "negation_differs",
    "names_differ",
    "units_differ",
    "length_ratio",
    "length",
    "age",
)

# Temperatures and ridges are fractions of the range of a cosine, not fitted to data.
_NEAR, _WIDE = 0.05, 0.1
_KERNEL, _LEARNT_KERNEL = 0.15, 0.3
_RIDGE, _SMOOTH_RIDGE = 0.1, 0.5
_POSTERIOR, _SMOOTH_POSTERIOR = 10.0, 30.0
_WORDING_NEAR, _WORDING_OVERLAP = 0.08, 0.15
_FLOOR = 0.005
"""Keeps log-odds of a vote finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The entries nearest to a question, nearest first; at least one.

    Attributes:
        vectors: unit vectors, shape (entries, dimension).
        similarities: cosines with the question, shape (entries,).
        answers: identity of the answer of each.
        wordings: of each.
        ages_s: seconds since each was stored.
        stored: how many entries there are in all.
    """

    vectors: Floats
    similarities: Floats
    answers: Sequence[str]
    wordings: Sequence[Wording]
    ages_s: Sequence[float]
    stored: int


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """The answer that the nearest entries propose.

    Attributes:
        answer: its identity.
        position: of its nearest entry among the neighbours.
        similarity: cosine of the question with that entry.
        features: values of `FEATURES`, in that order.
    """

    answer: str
    position: int
    similarity: float
    features: Doubles

    def explained(self) -> dict[str, float]:
        """Features by name."""
        return dict(zip(FEATURES, self.features.tolist(), strict=True))


class _Groups:
    """Neighbours by answer."""

    def __init__(self, answers: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        self.of = np.array([numbers.setdefault(answer, len(numbers)) for answer in answers])
        self.names = list(numbers)
        self.count = len(self.names)
        self.sizes = np.bincount(self.of, minlength=self.count).astype(np.float64)
        self.shares = (self.of == np.arange(self.count)[:, None]).astype(np.float32)
        self.shares /= self.sizes[:, None].astype(np.float32)

    def sums(self, values: Doubles) -> Doubles:
        sums: Doubles = np.asarray(
            np.bincount(self.of, weights=values, minlength=self.count), np.float64
        )
        return sums

    def best(self, values: npt.NDArray[np.floating]) -> Doubles:
        best = np.full(self.count, -np.inf)
        np.maximum.at(best, self.of, values)
        return best

    def vote(self, scores: npt.NDArray[np.floating], temperature: float) -> Doubles:
        weights = _softmax(scores.astype(np.float64), temperature)
        return self.sums(weights)


class SimilarityCalculator:
    """Weighs the nearest entries."""

    def propose(
        self, vector: Floats, wording: Wording, neighbours: Neighbours, metric: AnswerMetric
    ) -> Proposal:
        """The answer that they propose to a question.

        Args:
            vector: of the question, unit length, shape (dimension,).
            wording: of the question.
            neighbours: nearest entries.
            metric: learnt, or the plain one.
        """
        groups = _Groups(neighbours.answers)
        similarities = neighbours.similarities.astype(np.float64)
        gram = neighbours.vectors @ neighbours.vectors.T
        nearest = groups.best(similarities)
        near_vote = groups.vote(similarities, _NEAR)
        wide_vote = groups.vote(similarities, _WIDE)
        kernel = np.exp((gram - 1) / np.float32(_KERNEL))
        ridge = _ridge(groups, kernel, similarities, _KERNEL, _RIDGE)
        smooth = _ridge(groups, kernel, similarities, _KERNEL, _SMOOTH_RIDGE)
        learnt = _learnt_views(groups, vector, neighbours.vectors, metric)
        overlaps = _overlaps(wording, neighbours.wordings)
        overlap = groups.best(overlaps)
        wording_vote = groups.vote(similarities / _WORDING_NEAR + overlaps / _WORDING_OVERLAP, 1.0)
        chosen = int(np.argmax(ridge + learnt.ridge + learnt.posterior + learnt.wide_vote))
        position = int(np.flatnonzero(groups.of == chosen)[0])
        views = (nearest, near_vote, wide_vote, ridge, smooth, overlap, *learnt.views())
        entry = neighbours.wordings[position]
        features = (
            nearest[chosen],
            _lead(nearest, chosen),
            _log_odds(near_vote[chosen]),
            _log_odds(wide_vote[chosen]),
            _log_odds(learnt.near_vote[chosen]),
            _log_odds(learnt.wide_vote[chosen]),
            _lead(learnt.nearest, chosen),
            _log_odds(learnt.posterior[chosen]),
            _log_odds(learnt.smooth_posterior[chosen]),
            ridge[chosen],
            _lead(ridge, chosen),
            smooth[chosen],
            _lead(smooth, chosen),
            learnt.ridge[chosen],
            _lead(learnt.ridge, chosen),
            learnt.centroid[chosen],
            _lead(learnt.centroid, chosen),
            np.log(groups.sizes[chosen]),
            np.log(groups.count),
            np.log(neighbours.stored),
            sum(int(view.argmax()) == chosen for view in views) / len(views),
            float((groups.of[:5] == chosen).mean()),
            float((groups.of[:10] == chosen).mean()),
            overlap[chosen],
            _lead(overlap, chosen),
            _log_odds(wording_vote[chosen]),
            *mismatches(wording, entry),
            abs(np.log((wording.length + 1) / (entry.length + 1))),
            np.log(wording.length + 1),
            np.log1p(max(0.0, neighbours.ages_s[position]) / 3600),
        )
        return Proposal(
            answer=groups.names[chosen],
            position=position,
            similarity=float(similarities[position]),
            features=np.array(features, np.float64),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Learnt:
    """Views in the learnt metric; each a value by answer."""

    nearest: Doubles
    near_vote: Doubles
    wide_vote: Doubles
    ridge: Doubles
    posterior: Doubles
    smooth_posterior: Doubles
    centroid: Doubles

    def views(self) -> tuple[Doubles, ...]:
        return (self.nearest, self.wide_vote, self.ridge, self.posterior, self.centroid)


def _learnt_views(
    groups: _Groups, vector: Floats, vectors: Floats, metric: AnswerMetric
) -> _Learnt:
    question = metric.project(vector)
    entries = metric.project(vectors)
    length = float(np.linalg.norm(question)) + 1e-9
    units = entries / (np.sqrt(np.einsum("ij,ij->i", entries, entries))[:, None] + 1e-9)
    cosines = (units @ question / length).astype(np.float64)
    means = groups.shares @ entries
    evidence = _same_answer_evidence(question, means, groups.sizes, metric.ratios)
    norms = np.sqrt(np.einsum("ij,ij->i", means, means)) + 1e-9
    kernel = np.exp((units @ units.T - 1) / np.float32(_LEARNT_KERNEL))
    return _Learnt(
        nearest=groups.best(cosines),
        near_vote=groups.vote(cosines, _NEAR),
        wide_vote=groups.vote(cosines, _WIDE),
        ridge=_ridge(groups, kernel, cosines, _LEARNT_KERNEL, _RIDGE),
        posterior=_softmax(evidence, _POSTERIOR),
        smooth_posterior=_softmax(evidence, _SMOOTH_POSTERIOR),
        centroid=(means @ question / (norms * length)).astype(np.float64),
    )


def _same_answer_evidence(
    question: Floats, means: Floats, sizes: Doubles, ratios: Floats
) -> Doubles:
    """Log-likelihood ratio of the question's having each answer against a new one.

    Two-covariance model in whitened coordinates: answers are N(0, ratios), questions scatter about
    their answer with unit variance, so the question given n entries of mean m is
    N(n r m / (n r + 1), 1 + r / (n r + 1)), and N(0, 1 + r) given none.
    """
    precision = sizes[:, None] * ratios + 1
    expected = means * (1 - 1 / precision)
    variance = 1 + ratios / precision
    given = ((question - expected) ** 2 / variance + np.log(variance)).sum(axis=1)
    alone = (question**2 / (1 + ratios) + np.log(1 + ratios)).sum()
    evidence: Doubles = (-0.5 * (given - alone)).astype(np.float64)
    return evidence


def _ridge(
    groups: _Groups, kernel: Floats, similarities: Doubles, width: float, ridge: float
) -> Doubles:
    """Kernel ridge regression of each answer's indicator, with kernel exp((cosine - 1) / width)."""
    regular = kernel.astype(np.float64)
    regular.flat[:: len(regular) + 1] += ridge
    weights = np.linalg.solve(regular, np.exp((similarities - 1) / width))
    return groups.sums(np.asarray(weights, np.float64))


def _overlaps(question: Wording, entries: Sequence[Wording]) -> Doubles:
    """Weighted Jaccard index of the words; words that many of these entries have weigh little."""
    frequency = Counter(chain.from_iterable(entry.words for entry in entries))
    total = len(entries) + 2
    weights = {word: math.log(total / (count + 1)) for word, count in frequency.items()}
    weight = weights.__getitem__
    unheard = math.log(total)
    asked = sum(weights.get(word, unheard) for word in question.words)
    found = []
    for entry in entries:
        common = sum(map(weight, question.words & entry.words))
        everything = asked + sum(map(weight, entry.words)) - common
        found.append(common / everything if everything > 0 else 0.0)
    return np.array(found)


def _softmax(scores: Doubles, temperature: float) -> Doubles:
    weights = np.exp((scores - scores.max()) / temperature)
    softmax: Doubles = weights / weights.sum()
    return softmax


def _lead(values: Doubles, chosen: int) -> float:
    """By how much the chosen answer leads the best other, or 0 when there is none."""
    if len(values) == 1:
        return float(values[0] - min(0.0, values[0]))
    best = max(
        float(values[:chosen].max(initial=-np.inf)),
        float(values[chosen + 1 :].max(initial=-np.inf)),
    )
    return float(values[chosen]) - best


def _log_odds(share: float) -> float:
    return float(np.log((share + _FLOOR) / (1 - share + _FLOOR)))
