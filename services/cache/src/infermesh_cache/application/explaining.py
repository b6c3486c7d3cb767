"""What the semantic tier would make of a request, without doing or counting anything."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from decimal import Decimal

from infermesh_cache.application.lazy_parts import LazyParts
from infermesh_cache.application.proposing import Proposer
from infermesh_cache.application.shared_tuner import SharedTuner
from infermesh_cache.application.tuner_book import TunerBook
from infermesh_cache.domain.match import Match, Proceeding
from infermesh_cache.domain.semantic.decision import Decision, Reason, Verdict
from infermesh_cache.domain.semantic.mismatch import MismatchCostCalculator
from infermesh_cache.domain.semantic.similarity import Proposal
from infermesh_cache.domain.semantic.tuner import LIKELIEST_WRONG, AdaptiveThresholdTuner
from infermesh_cache.domain.semantic_policy import CategoryRules
from infermesh_cache.learning_ports import Asked, Place
from infermesh_cache.ports import Policies
from infermesh_cache.semantic_ports import Near
from infermesh_common.errors import FailedPrecondition

_CERTAINLY_NOT_EXPLORED = 1.0


@dataclass(frozen=True, slots=True)
class EvidenceTold:
    """Counts of a category; see `infermesh.cache.v1.SemanticEvidence`."""

    requests: int
    served: int
    compared: int
    compared_wrong: int
    known_wrong: int
    estimated_error: float
    error_bound: float


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What would be done and why; see `infermesh.cache.v1.ExplainLookupResponse`."""

    match: Match
    sentence: str
    text: str
    context: str
    space: str
    flags: Sequence[str]
    near: Sequence[Near]
    features: Mapping[str, float]
    price: float
    evidence: EvidenceTold


class Explaining:
    """Explains lookups.

    Args:
        policies: of the tenants.
        parts: embedding and index.
        proposer: weighs entries.
        tuners: decide.
        executor: where a copy of a tuner is made.
    """

    def __init__(
        self,
        *,
        policies: Policies,
        parts: LazyParts,
        proposer: Proposer,
        tuners: TunerBook,
        executor: Executor,
    ) -> None:
        self._policies = policies
        self._parts = parts
        self._proposer = proposer
        self._tuners = tuners
        self._executor = executor

    async def explain(self, tenant: str, asked: Asked) -> Explanation:
        """What would be done with a request now.

        Raises:
            FailedPrecondition: SEMANTIC_TIER_OFF, the policy leaves the tier off.
            Unavailable: embedding, index or state cannot be had now.
        """
        rules = self._policies.rules_of(tenant)
        semantic = rules.semantic
        if semantic is None:
            raise FailedPrecondition("SEMANTIC_TIER_OFF", "The policy leaves the tier off.")
        parts = await self._parts.wait()
        category = semantic.category_of(asked.task)
        tuner = await self._tuners.open(tenant, category, semantic)
        evidence = _told(tuner)
        match = Match(
            Proceeding.NONE,
            "NOT_COMPARABLE",
            category.name,
            category.delta,
            semantic.confidence,
            evidence.error_bound,
        )
        place = Place(tenant, rules.epoch, category.name, semantic.bind_history)
        question = await parts.reader.read(asked, place)
        if question is None:
            space = parts.engine.space.name
            sentence = _sentence(match, tuner)
            return Explanation(match, sentence, "", "", space, (), (), {}, 0.0, evidence)
        scope = semantic.scope_of(asked.key_id, asked.team)
        near = await self._proposer.near(parts.vectors, tenant, question, scope, 0)
        features: Mapping[str, float] = {}
        price = 0.0
        if near:
            stored = await parts.vectors.count(tenant)
            proposed = await self._proposer.propose(question, near, stored, tuner)
            decision = await self._would_decide(tuner, proposed.proposal, asked, category)
            match = _filled(match, decision, proposed.record.entry_id)
            features, price = proposed.proposal.explained(), decision.price
        else:
            match = replace(match, reason="NOTHING_NEAR")
        return Explanation(
            match,
            _sentence(match, tuner, price),
            question.text,
            question.context,
            question.space.name,
            question.flags,
            near,
            features,
            price,
            evidence,
        )

    async def _would_decide(
        self, tuner: SharedTuner, proposal: Proposal, asked: Asked, category: CategoryRules
    ) -> Decision:
        state, settings = tuner.tuner.state(), tuner.settings
        costs = MismatchCostCalculator(category.penalty_usd)
        saved = asked.call_cost_usd or Decimal(0)

        def worth(wrong: float) -> bool:
            return costs.worth_serving(wrong, saved, category.name)

        def decide() -> Decision:
            copy = AdaptiveThresholdTuner.restore(state, settings)
            return copy.decide(
                proposal, _CERTAINLY_NOT_EXPLORED, worth if category.penalty_usd else None
            )

        return await asyncio.get_running_loop().run_in_executor(self._executor, decide)


def _filled(match: Match, decision: Decision, entry_id: str) -> Match:
    wrong = decision.probability_wrong
    served = decision.verdict is Verdict.SERVE
    return replace(
        match,
        proceeding=Proceeding.SERVED if served else Proceeding.REFUSED,
        reason=decision.reason.value,
        similarity=decision.proposal.similarity,
        probability=None if wrong is None else 1 - wrong,
        entry=entry_id,
    )


def _told(tuner: SharedTuner) -> EvidenceTold:
    certificate = tuner.tuner.certificate
    evidence = certificate.evidence
    wrong = int(evidence.wrong.sum())
    requests = evidence.requests
    return EvidenceTold(
        requests=requests,
        served=int(evidence.served.sum()),
        compared=max(tuner.tuner.examples.seen, int(evidence.right.sum()) + wrong),
        compared_wrong=wrong,
        known_wrong=evidence.known_wrong,
        estimated_error=certificate.expected_errors() / requests if requests else 0.0,
        error_bound=tuner.error_bound(),
    )


def _sentence(match: Match, tuner: SharedTuner, price: float = 0.0) -> str:
    needed = 1 - min(price, LIKELIEST_WRONG)
    sure = "" if match.probability is None else f"{match.probability:.2%} sure to be right"
    permitted = f"{match.delta:.2%} of all requests at {match.confidence:.0%} confidence"
    return {
        "NOT_COMPARABLE": "The request has no question that could be compared by meaning.",
        "NOTHING_NEAR": "No entry of the same context may serve it: a model answers.",
        Reason.YOUNG.value: (
            f"The tier is young: it serves nothing before {tuner.tuner.fewest_examples} proposals "
            "have been compared with answers of models."
        ),
        Reason.TOO_LIKELY_WRONG.value: (
            f"The nearest answer is {sure}; with {permitted} permitted to be wrong, the evidence "
            f"pays for {needed:.2%} and surer."
        ),
        Reason.NOT_WORTH_IT.value: (
            f"The nearest answer is {sure}; a wrong one costs more than a right one saves."
        ),
        Reason.BOUND_AT_RISK.value: (
            f"The nearest answer is {sure}, but the evidence does not yet show that one more "
            f"answer served keeps errors below {permitted}."
        ),
        Reason.WITHIN_BOUND.value: (
            f"The nearest answer is {sure}, and serving it keeps errors below {permitted}."
        ),
    }.get(match.reason, match.reason)
