"""One order of questions through the objects by which the service decides."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.semantic_cache.embedding import Floats
from infermesh_cache.domain.semantic.decision import Verdict
from infermesh_cache.domain.semantic.metric import AnswerMetric
from infermesh_cache.domain.semantic.similarity import (
    NEAREST,
    Neighbours,
    Proposal,
    SimilarityCalculator,
)
from infermesh_cache.domain.semantic.tuner import AdaptiveThresholdTuner, TunerSettings
from infermesh_cache.domain.semantic.wording import Wording

_FIRST_METRIC = 64
_METRIC_GROWTH = 1.2


@dataclass(slots=True)
class Run:
    """What came of an order.

    Attributes:
        requests: sent.
        hits: answers served.
        wrong: of these, those of another label.
        explored: proposals looked into that would have been served.
        passed_at: requests after which more than delta of all had been answered wrongly.
        drifts: requests at which learning began anew.
        wrongs: requests that were answered wrongly, in order.
    """

    requests: int = 0
    hits: int = 0
    wrong: int = 0
    explored: int = 0
    passed_at: list[int] = field(default_factory=list)
    drifts: list[int] = field(default_factory=list)
    wrongs: list[int] = field(default_factory=list)


class Replay:
    """Decides about questions one by one, as `SemanticCache` does, with exact search.

    A question that is not served goes to the model: its label becomes known, is compared with the
    one proposed, and is stored. Of a question that is served nothing becomes known.

    Args:
        delta: share of all requests that may be answered wrongly.
        dimension: of the vectors.
        most: questions, at most.
        seed: of what is looked into.
    """

    def __init__(self, delta: float, dimension: int, most: int, seed: int) -> None:
        self.run = Run()
        self.tuner = AdaptiveThresholdTuner(TunerSettings(delta))
        self._delta = delta
        self._chance = random.Random(seed)
        self._calculator = SimilarityCalculator()
        self._metric = AnswerMetric.plain(dimension)
        self._metric_at = _FIRST_METRIC
        self._vectors = np.zeros((most, dimension), np.float32)
        self._answers: list[str] = []
        self._wordings: list[Wording] = []
        self._alive = np.zeros(most, np.bool_)

    def ask(self, vector: Floats, wording: Wording, answer: str) -> None:
        """One question, with the answer that a model would give."""
        self.run.requests += 1
        proposed = self._propose(vector, wording)
        if proposed is None:
            self.tuner.pass_by()
        else:
            proposal, entry = proposed
            wrong = proposal.answer != answer
            decision = self.tuner.decide(proposal, self._chance.random())
            if decision.verdict is Verdict.SERVE:
                self.run.hits += 1
                self._count(wrong)
                return
            self.run.explored += decision.verdict is Verdict.EXPLORE
            lesson = self.tuner.learn(decision, wrong)
            if lesson.retire:
                self._alive[entry] = False
            if lesson.drift:
                self.run.drifts.append(self.run.requests)
            if self.tuner.fit_due():
                self.tuner.fit()
        self._count(False)
        self._store(vector, wording, answer)

    def _count(self, wrong: bool) -> None:
        if wrong:
            self.run.wrong += 1
            self.run.wrongs.append(self.run.requests)
        if self.run.wrong > self._delta * self.run.requests:
            self.run.passed_at.append(self.run.requests)

    def _propose(self, vector: Floats, wording: Wording) -> tuple[Proposal, int] | None:
        alive = self._alive[: len(self._answers)]
        stored = int(alive.sum())
        if stored == 0:
            return None
        every = np.where(alive, self._vectors[: len(alive)] @ vector, -np.inf)
        count = min(NEAREST, stored)
        nearest = np.argpartition(-every, count - 1)[:count]
        nearest = nearest[np.argsort(-every[nearest])]
        similarities = every[nearest].astype(np.float32)
        neighbours = Neighbours(
            vectors=self._vectors[nearest],
            similarities=similarities,
            answers=[self._answers[position] for position in nearest],
            wordings=[self._wordings[position] for position in nearest],
            ages_s=[0.0] * count,
            stored=stored,
        )
        proposal = self._calculator.propose(vector, wording, neighbours, self._metric)
        return proposal, int(nearest[proposal.position])

    def _store(self, vector: Floats, wording: Wording, answer: str) -> None:
        self._vectors[len(self._answers)] = vector
        self._alive[len(self._answers)] = True
        self._answers.append(answer)
        self._wordings.append(wording)
        stored = len(self._answers)
        if stored >= self._metric_at:
            self._metric_at = int(stored * _METRIC_GROWTH) + 1
            alive = np.flatnonzero(self._alive)
            answers = [self._answers[position] for position in alive]
            fitted = AnswerMetric.fit(self._vectors[alive], answers)
            self._metric = fitted or self._metric


def replay(
    vectors: Floats,
    wordings: Sequence[Wording],
    labels: Sequence[int],
    delta: float,
    seed: int,
) -> Run:
    """An order, all of it."""
    stand = Replay(delta, vectors.shape[1], len(labels), seed)
    for vector, wording, label in zip(vectors, wordings, labels, strict=True):
        stand.ask(vector, wording, str(label))
    return stand.run
