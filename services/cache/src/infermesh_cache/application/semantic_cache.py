"""SemanticCache: an exact entry, else the answer to a question of the same meaning, else a miss."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from infermesh_cache.application.cache import Cache, LookupQuery
from infermesh_cache.application.lazy_parts import LazyParts, Parts
from infermesh_cache.application.learning import Learning
from infermesh_cache.application.proposing import Proposed, Proposer
from infermesh_cache.application.shared_tuner import SharedTuner
from infermesh_cache.application.tuner_book import TunerBook
from infermesh_cache.domain.entry import Answer
from infermesh_cache.domain.match import Match, Proceeding
from infermesh_cache.domain.outcomes import Hit, Lease, Miss, Stored
from infermesh_cache.domain.policy import CacheRules
from infermesh_cache.domain.selection import One, Scope, Selector
from infermesh_cache.domain.semantic.decision import Decision, Verdict
from infermesh_cache.domain.semantic.mismatch import MismatchCostCalculator
from infermesh_cache.domain.semantic.tuner import Worth
from infermesh_cache.domain.semantic_policy import CategoryRules, SemanticRules
from infermesh_cache.learning_ports import Asked, Lesson, Lessons, Place, Question, Served
from infermesh_cache.ports import Policies
from infermesh_cache.semantic_ports import Removal
from infermesh_common.errors import DeadlineExceeded, InfermeshError
from infermesh_common.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)
_PROPOSALS = 3
"""Times that an entry behind a proposal may turn out to be gone."""
_PROCEEDINGS = {
    Verdict.SERVE: Proceeding.SERVED,
    Verdict.EXPLORE: Proceeding.EXPLORED,
    Verdict.CALL: Proceeding.REFUSED,
}


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of a lookup.

    Attributes:
        outcome: the entry served, the right to make one, or neither.
        match: what the semantic tier made of it; None when it was not asked.
        token: for the store; empty when there is nothing to learn.
    """

    outcome: Hit | Lease | Miss
    match: Match | None = None
    token: str = ""


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the semantic stage came to."""

    match: Match
    hit: Hit | None = None
    token: str = ""


@dataclass(frozen=True, slots=True)
class _Request:
    """One request in the semantic stage."""

    tenant: str
    asked: Asked
    rules: SemanticRules
    category: CategoryRules
    epoch: int
    max_age_us: int | None

    def place(self) -> Place:
        """Where it is asked."""
        return Place(self.tenant, self.epoch, self.category.name, self.rules.bind_history)

    def nothing(self, reason: str) -> _Stage:
        """No proposal."""
        return _Stage(self.match(Proceeding.NONE, reason))

    def match(self, proceeding: Proceeding, reason: str) -> Match:
        return Match(
            proceeding, reason, self.category.name, self.category.delta, self.rules.confidence
        )


class SemanticCache:
    """Tier 2 around tier 1. Requests without a semantic query, and tenants whose policy leaves the
    tier off, get tier 1 alone.

    Whatever fails in tier 2 within its time-out leaves a miss of tier 1: an embedding or an index
    that is slow or gone costs hits, never answers.

    Args:
        exact: tier 1.
        policies: of the tenants.
        parts: embedding and index.
        proposer: weighs entries.
        tuners: decide.
        lessons: decisions whose outcome is to come.
        learning: takes outcomes.
        metrics: counts what was done.
        timeout_ms: longest time of the stage, in milliseconds.
        most_unshared: answers that a replica may serve before it has told the others.
        chance: uniform in [0, 1); decides what is explored.
    """

    def __init__(
        self,
        *,
        exact: Cache,
        policies: Policies,
        parts: LazyParts,
        proposer: Proposer,
        tuners: TunerBook,
        lessons: Lessons,
        learning: Learning,
        metrics: Metrics,
        timeout_ms: int,
        most_unshared: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._exact = exact
        self._policies = policies
        self._parts = parts
        self._proposer = proposer
        self._tuners = tuners
        self._lessons = lessons
        self._learning = learning
        self._timeout_s = timeout_ms / 1000
        self._most_unshared = most_unshared
        self._chance = chance
        self._counted = metrics.counter("infermesh_semantic_lookups_total")

    async def lookup(self, tenant: str, query: LookupQuery, asked: Asked | None) -> Looked:
        """The entry, or one of the same meaning, or the right to make it, or neither."""
        rules = self._policies.rules_of(tenant) if asked is not None else None
        if asked is None or rules is None or rules.semantic is None:
            return Looked(await self._exact.lookup(tenant, query))
        request = self._request(tenant, asked, rules, query.max_age_us)
        # Before any lease is taken: those who are served need none, and whoever leads a flight
        # must not keep the others waiting for an embedding.
        if (hit := await self._exact.peek(tenant, query)) is not None:
            await self._pass_by(request)
            return Looked(hit)
        stage = await self._within_time(request)
        self._counted.labels(
            tenant, stage.match.proceeding.value.lower(), stage.match.reason.lower()
        ).inc()
        if stage.hit is not None:
            return Looked(stage.hit, stage.match)
        return Looked(await self._exact.lookup(tenant, query), stage.match, stage.token)

    def _request(
        self, tenant: str, asked: Asked, rules: CacheRules, max_age_us: int | None
    ) -> _Request:
        assert rules.semantic is not None
        category = rules.semantic.category_of(asked.task)
        return _Request(tenant, asked, rules.semantic, category, rules.epoch, max_age_us)

    async def _pass_by(self, request: _Request) -> None:
        """Counts a request that another tier answered: the bound is over all of them."""
        try:
            tuner = await self._tuners.open(request.tenant, request.category, request.rules)
        except InfermeshError:
            return
        tuner.tuner.pass_by()

    async def _within_time(self, request: _Request) -> _Stage:
        parts = self._parts.get()
        if parts is None:
            fault = self._parts.fault
            return request.nothing("UNAVAILABLE" if fault else "LOADING")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._decide(request, parts)
        except (TimeoutError, DeadlineExceeded):
            return request.nothing("TIMEOUT")
        except InfermeshError as error:
            _log.info("semantic_tier_unavailable", tenant=request.tenant, reason=error.reason)
            return request.nothing("UNAVAILABLE")

    async def _decide(self, request: _Request, parts: Parts) -> _Stage:
        question = await parts.reader.read(request.asked, request.place())
        if question is None:
            return request.nothing("NOT_COMPARABLE")
        tuner = await self._tuners.open(request.tenant, request.category, request.rules)
        scope = request.rules.scope_of(request.asked.key_id, request.asked.team)
        found = await self._proposal(request, parts, question, scope, tuner)
        if found is None:
            tuner.tuner.pass_by()
            token = await self._keep(request, question, scope, None, "")
            return replace(request.nothing("NOTHING_NEAR"), token=token)
        proposed, hit = found
        if tuner.unshared >= self._most_unshared:
            # The others have to know first; if they cannot be told, nothing is served.
            await self._tuners.share(tuner)
        decision = tuner.tuner.decide(
            proposed.proposal, self._chance(), self._worth(request, request.category)
        )
        match = self._match(request, tuner, decision, proposed.record.entry_id)
        if decision.verdict is Verdict.SERVE:
            await self._remember(request, decision, proposed.record.entry_id)
            return _Stage(match, hit)
        token = await self._keep(request, question, scope, decision, proposed.record.entry_id)
        return _Stage(match, token=token)

    async def _proposal(
        self,
        request: _Request,
        parts: Parts,
        question: Question,
        scope: str,
        tuner: SharedTuner,
    ) -> tuple[Proposed, Hit] | None:
        """A proposal whose answer is still there."""
        not_before_us = 0
        if request.max_age_us is not None:
            not_before_us = int(time.time() * 1e6) - request.max_age_us
        near = await self._proposer.near(
            parts.vectors, request.tenant, question, scope, not_before_us
        )
        stored = await parts.vectors.count(request.tenant) if near else 0
        for _ in range(_PROPOSALS):
            if not near:
                return None
            proposed = await self._proposer.propose(question, near, stored, tuner)
            entry_id = proposed.record.entry_id
            hit = await self._exact.entry(request.tenant, bytes.fromhex(entry_id))
            if hit is not None:
                return proposed, hit
            # Evicted, replaced by another epoch, or invalidated: what is left of it goes too.
            await parts.vectors.remove(request.tenant, Removal(entry_id=entry_id))
            near = [each for each in near if each.record.entry_id != entry_id]
        return None

    def _worth(self, request: _Request, category: CategoryRules) -> Worth | None:
        if category.penalty_usd == 0:
            return None
        costs = MismatchCostCalculator(category.penalty_usd)
        saved = request.asked.call_cost_usd or Decimal(0)
        return lambda wrong: costs.worth_serving(wrong, saved, category.name)

    def _match(
        self, request: _Request, tuner: SharedTuner, decision: Decision, entry_id: str
    ) -> Match:
        wrong = decision.probability_wrong
        return replace(
            request.match(_PROCEEDINGS[decision.verdict], decision.reason.value),
            error_bound=tuner.error_bound(),
            similarity=decision.proposal.similarity,
            probability=None if wrong is None else 1 - wrong,
            entry=entry_id,
        )

    async def _remember(self, request: _Request, decision: Decision, entry_id: str) -> None:
        if not request.asked.decision_id:
            return
        served = Served(request.category.name, decision, entry_id)
        try:
            await self._lessons.keep_served(request.tenant, request.asked.decision_id, served)
        except InfermeshError as error:
            # Served all the same; nobody can complain of it.
            _log.info("served_decision_not_kept", reason=error.reason)

    async def _keep(
        self,
        request: _Request,
        question: Question,
        scope: str,
        decision: Decision | None,
        proposed: str,
    ) -> str:
        token = secrets.token_hex(16)
        lesson = Lesson(request.category.name, question, scope, decision, proposed)
        try:
            await self._lessons.keep_lesson(request.tenant, token, lesson)
        except InfermeshError as error:
            _log.info("lesson_not_kept", reason=error.reason)
            return ""
        return token

    async def store(
        self,
        tenant: str,
        fingerprint: bytes,
        answer: Answer,
        *,
        token: str,
        ttl_ms: int,
        semantic_token: str,
    ) -> Stored:
        """Keeps `answer` as tier 1 does; what tier 2 learns of it, it learns afterwards."""
        stored = await self._exact.store(tenant, fingerprint, answer, token=token, ttl_ms=ttl_ms)
        if semantic_token:
            self._learning.begin(
                tenant,
                fingerprint,
                answer,
                semantic_token,
                ttl_ms=0 if stored.reason else ttl_ms,
            )
        return stored

    async def invalidate(self, tenant: str, selector: Selector, *, dry_run: bool) -> int:
        """As of tier 1, whose entries hold the answers: what they leave in tier 2 is out of use at
        once, and removed."""
        count = await self._exact.invalidate(tenant, selector, dry_run=dry_run)
        parts = self._parts.built
        if parts is not None and not dry_run:
            try:
                await parts.vectors.remove(tenant, _removal(selector))
            except InfermeshError as error:
                # They go when they are next proposed.
                _log.warning("vectors_not_removed", tenant=tenant, reason=error.reason)
        return count


def _removal(selector: Selector) -> Removal:
    if isinstance(selector, One):
        return Removal(entry_id=selector.fingerprint.hex())
    if selector.scope is Scope.MODEL:
        return Removal(model=selector.value)
    if selector.scope is Scope.TAG:
        return Removal(tag=selector.value)
    return Removal(everything=True)
