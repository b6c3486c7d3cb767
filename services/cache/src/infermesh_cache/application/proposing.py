"""What the nearest entries propose for a question: the part of a lookup without any decision."""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from infermesh_cache.application.shared_tuner import SharedTuner
from infermesh_cache.domain.semantic.metric import AnswerMetric
from infermesh_cache.domain.semantic.similarity import (
    NEAREST,
    Neighbours,
    Proposal,
    SimilarityCalculator,
)
from infermesh_cache.domain.semantic.wording import Wording
from infermesh_cache.learning_ports import Question
from infermesh_cache.semantic_ports import Near, VectorDatabase, VectorRecord

_WORDINGS_KEPT = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Proposed:
    """A proposal and the entry behind it.

    Attributes:
        proposal: the answer, and the signs of its being right.
        record: nearest entry that gives that answer.
        near: all entries that were weighed.
    """

    proposal: Proposal
    record: VectorRecord
    near: Sequence[Near]


class Proposer:
    """Finds and weighs entries.

    Args:
        executor: where entries are weighed; it takes a millisecond or two.
        clock: seconds since the epoch.
    """

    def __init__(self, executor: Executor, clock: Callable[[], float] = time.time) -> None:
        self._executor = executor
        self._clock = clock
        self._calculator = SimilarityCalculator()
        self._wording = functools.lru_cache(maxsize=_WORDINGS_KEPT)(Wording.of)

    async def near(
        self,
        vectors: VectorDatabase,
        tenant: str,
        question: Question,
        scope: str,
        not_before_us: int,
    ) -> list[Near]:
        """The entries nearest to a question that may serve it, nearest first.

        Args:
            vectors: where they are.
            tenant: whose.
            question: what is asked.
            scope: whose answers may serve.
            not_before_us: entries stored before do not count, in microseconds since the epoch.

        Raises:
            Unavailable: the index cannot be asked in time.
        """
        found = await vectors.nearest(tenant, question.context, [scope], question.vector, NEAREST)
        now_us = int(self._clock() * 1e6)
        return [
            near
            for near in found
            if near.record.context == question.context
            and near.record.scope == scope
            and near.record.expire_time_us > now_us
            and near.record.create_time_us >= not_before_us
            and np.isfinite(near.similarity)
        ]

    async def propose(
        self, question: Question, near: Sequence[Near], stored: int, tuner: SharedTuner
    ) -> Proposed:
        """What they propose; at least one."""
        metric = tuner.metric_for(len(question.vector))
        loop = asyncio.get_running_loop()
        proposal = await loop.run_in_executor(
            self._executor, self._weigh, question, near, stored, metric
        )
        return Proposed(proposal, near[proposal.position].record, near)

    def _weigh(
        self, question: Question, near: Sequence[Near], stored: int, metric: AnswerMetric
    ) -> Proposal:
        now_s = self._clock()
        records = [each.record for each in near]
        neighbours = Neighbours(
            vectors=np.stack([record.vector for record in records]),
            similarities=np.array([each.similarity for each in near], np.float32),
            answers=[record.answer for record in records],
            wordings=[self._wording(record.text) for record in records],
            ages_s=[max(0.0, now_s - record.create_time_us / 1e6) for record in records],
            stored=max(stored, len(records)),
        )
        return self._calculator.propose(
            question.vector, self._wording(question.text), neighbours, metric
        )
