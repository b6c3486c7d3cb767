"""Learning from answers of models and from feedback, off the path of requests."""

import contextvars
import time
from collections.abc import Callable

import structlog

from infermesh_cache.application.cache import Cache
from infermesh_cache.application.comparing import comparer_of
from infermesh_cache.application.lazy_parts import LazyParts, Parts
from infermesh_cache.application.tuner_book import TunerBook
from infermesh_cache.domain.entry import Answer
from infermesh_cache.domain.semantic_policy import CategoryRules, SemanticRules
from infermesh_cache.learning_ports import AnswerComparer, Lesson, Lessons
from infermesh_cache.ports import Policies
from infermesh_cache.semantic_ports import Removal, VectorRecord
from infermesh_common.background import BackgroundTasks
from infermesh_common.errors import (
    FailedPrecondition,
    InfermeshError,
    NotFound,
    ResourceExhausted,
)
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)


class Learning:
    """Compares what was proposed with what a model answered.

    Args:
        exact: where the answers are.
        policies: of the tenants.
        parts: embedding and index.
        tuners: what learns.
        lessons: what is to be compared.
        background: where it runs.
        metrics: counts outcomes.
        most_under_way: lessons beyond that are left out; the tier then learns more slowly.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        exact: Cache,
        policies: Policies,
        parts: LazyParts,
        tuners: TunerBook,
        lessons: Lessons,
        background: BackgroundTasks,
        metrics: Metrics,
        most_under_way: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._exact = exact
        self._policies = policies
        self._parts = parts
        self._tuners = tuners
        self._lessons = lessons
        self._background = background
        self._most_under_way = most_under_way
        self._clock = clock
        self._outcomes = metrics.counter("infermesh_semantic_outcomes_total")
        self._drifts = metrics.counter("infermesh_semantic_drifts_total")
        self._feedback = metrics.counter("infermesh_semantic_feedback_total")

    def begin(
        self, tenant: str, fingerprint: bytes, answer: Answer, token: str, *, ttl_ms: int
    ) -> None:
        """Learns from an answer, later.

        Args:
            tenant: whose.
            fingerprint: of the request.
            answer: of a model.
            token: of the lesson.
            ttl_ms: how long the entry lives; 0 when it was not stored.
        """
        if len(self._background) >= self._most_under_way:
            self._outcomes.labels(tenant, "left_out").inc()
            return
        work = self._learn(tenant, fingerprint, answer, token, ttl_ms)
        # In an empty context: it must not end with the deadline of the request.
        contextvars.Context().run(self._background.start, work, "semantic-lesson")

    async def _learn(
        self, tenant: str, fingerprint: bytes, answer: Answer, token: str, ttl_ms: int
    ) -> None:
        try:
            lesson = await self._lessons.take_lesson(tenant, token)
            rules = self._policies.rules_of(tenant).semantic
            parts = self._parts.get()
            if lesson is None or rules is None or parts is None:
                return
            category = rules.category_of(lesson.category)
            comparer = comparer_of(rules, parts.engine, parts.judge)
            try:
                identity = await self._outcome(
                    tenant, lesson, answer, rules, category, parts, comparer
                )
            except InfermeshError as error:
                # Its answer may be proposed all the same.
                self._not_learnt(tenant, error)
                identity = comparer.identity(answer.body)
            if ttl_ms > 0:
                life_ms = min(ttl_ms, category.ttl_ms)
                record = self._record(fingerprint, lesson, answer, identity, life_ms)
                await parts.vectors.add(tenant, record)
                tuner = await self._tuners.open(tenant, category, rules)
                tuner.saw(record.entry_id, record.vector, identity)
        except InfermeshError as error:
            self._not_learnt(tenant, error)

    def _not_learnt(self, tenant: str, error: InfermeshError) -> None:
        self._outcomes.labels(tenant, "not_learnt").inc()
        _log.info("lesson_not_learnt", tenant=tenant, reason=error.reason)

    async def _outcome(
        self,
        tenant: str,
        lesson: Lesson,
        answer: Answer,
        rules: SemanticRules,
        category: CategoryRules,
        parts: Parts,
        comparer: AnswerComparer,
    ) -> str:
        """Tells the tuner; identity of the answer."""
        identity = comparer.identity(answer.body)
        decision = lesson.decision
        if decision is None:
            return identity
        same = decision.proposal.answer == identity
        if not same:
            proposed = await self._exact.entry(tenant, bytes.fromhex(lesson.proposed))
            same = proposed is not None and await comparer.same(
                proposed.entry.answer.body, answer.body, lesson.question.text
            )
        self._outcomes.labels(tenant, "right" if same else "wrong").inc()
        tuner = await self._tuners.open(tenant, category, rules)
        taught = tuner.learn(decision, not same)
        if taught.drift:
            self._drifts.labels(tenant).inc()
        if taught.retire:
            tuner.forget(lesson.proposed)
            await parts.vectors.remove(tenant, Removal(entry_id=lesson.proposed))
        self._tuners.fit_if_due(tuner)
        return decision.proposal.answer if same else identity

    def _record(
        self, fingerprint: bytes, lesson: Lesson, answer: Answer, identity: str, life_ms: int
    ) -> VectorRecord:
        now_us = int(self._clock() * 1e6)
        return VectorRecord(
            entry_id=fingerprint.hex(),
            context=lesson.question.context,
            scope=lesson.scope,
            answer=identity,
            text=lesson.question.text,
            vector=lesson.question.vector,
            create_time_us=now_us,
            expire_time_us=now_us + life_ms * 1000,
            tags=answer.tags,
            model=answer.model,
            category=lesson.category,
        )

    async def feedback(self, tenant: str, key_id: str, decision_id: str, *, wrong: bool) -> bool:
        """Takes what somebody says of an answer served; whether its entry was retired.

        That an answer was right is counted and not used as evidence: who says so was not drawn by
        chance.

        Raises:
            ResourceExhausted: FEEDBACK_LIMIT, the key has given too much this hour.
            FailedPrecondition: SEMANTIC_TIER_OFF, the policy leaves the tier off.
            NotFound: DECISION_UNKNOWN, the tier served nothing under that decision, or feedback
                has been given, or it is too late.
        """
        rules = self._policies.rules_of(tenant).semantic
        if rules is None:
            raise FailedPrecondition("SEMANTIC_TIER_OFF", "The policy leaves the tier off.")
        if not await self._lessons.may_complain(tenant, key_id):
            self._feedback.labels(tenant, "refused").inc()
            raise ResourceExhausted("FEEDBACK_LIMIT", "Too much feedback from this key.")
        served = await self._lessons.take_served(tenant, decision_id)
        if served is None:
            raise NotFound(
                "DECISION_UNKNOWN",
                "The semantic tier served nothing under that decision that waits for feedback.",
            )
        self._feedback.labels(tenant, "wrong" if wrong else "right").inc()
        if not wrong:
            return False
        tuner = await self._tuners.open(tenant, rules.category_of(served.category), rules)
        taught = tuner.tuner.report_wrong(served.decision)
        await self._tuners.share(tuner)
        parts = self._parts.get()
        if not taught.retire or parts is None:
            return False
        return await parts.vectors.remove(tenant, Removal(entry_id=served.entry_id)) > 0
