"""Decisions as protobuf messages and as response headers."""

from google.protobuf import duration_pb2

from infermesh.common.v1 import decision_pb2
from infermesh_common.usage import money_to_proto, plain, usage_to_proto
from infermesh_router.domain.decision import CacheStatus, Decision, Tier

_TIERS = {
    Tier.NONE: decision_pb2.CACHE_TIER_NONE,
    Tier.EXACT: decision_pb2.CACHE_TIER_EXACT,
}
_STATUSES = {
    CacheStatus.HIT: decision_pb2.CACHE_STATUS_HIT,
    CacheStatus.MISS: decision_pb2.CACHE_STATUS_MISS,
    CacheStatus.BYPASS: decision_pb2.CACHE_STATUS_BYPASS,
    CacheStatus.REFRESH: decision_pb2.CACHE_STATUS_REFRESH,
    CacheStatus.INELIGIBLE: decision_pb2.CACHE_STATUS_INELIGIBLE,
    CacheStatus.UNAVAILABLE: decision_pb2.CACHE_STATUS_UNAVAILABLE,
    CacheStatus.SHARED: decision_pb2.CACHE_STATUS_SHARED,
}


def decision_to_proto(decision: Decision) -> decision_pb2.Decision:
    """The protobuf form of a decision."""
    age = decision.entry_age_s
    usage, worth = decision.usage, decision.answer_usage
    return decision_pb2.Decision(
        decision_id=decision.decision_id,
        tier=_TIERS[decision.tier],
        cache_status=_STATUSES[decision.cache_status],
        model=decision.model,
        provider=decision.provider,
        reason=decision.reason,
        candidates=[
            decision_pb2.Candidate(
                model=considered.model,
                eligible=considered.eligible,
                reason=considered.reason,
                estimated_cost=money_to_proto(considered.estimated_cost),
            )
            for considered in decision.candidates
        ],
        price_version=decision.price_version,
        cost=money_to_proto(decision.cost),
        baseline_cost=money_to_proto(decision.baseline_cost),
        saved=money_to_proto(decision.saved),
        baseline_model=decision.baseline_model,
        usage=None if usage is None else usage_to_proto(usage),
        baseline_usage=None if worth is None else usage_to_proto(worth),
        stages=[
            decision_pb2.StageTiming(stage=stage, duration_us=duration_us)
            for stage, duration_us in decision.stages
        ],
        configuration_revision=decision.configuration_revision,
        entry_age=(
            None
            if age is None
            else duration_pb2.Duration(nanos=int(age % 1 * 1e9), seconds=int(age))
        ),
        fingerprint=decision.fingerprint,
        store_outcome=decision.store_outcome,
        fallbacks=decision.fallbacks,
    )


def decision_headers(decision: Decision) -> tuple[tuple[str, str], ...]:
    """What HTTP clients see of a decision. Amounts that are not known (yet) are left out: of a
    streamed answer they are in the ledger, under the decision's id."""
    headers = [
        ("x-request-id", decision.request_id),
        ("x-infermesh-decision-id", decision.decision_id),
        ("x-infermesh-tier", decision.tier.value),
        ("x-infermesh-cache", decision.cache_status.value),
        ("x-infermesh-model", decision.model),
    ]
    if decision.cost is not None:
        headers.append(("x-infermesh-cost-usd", plain(decision.cost)))
    if decision.saved is not None:
        headers.append(("x-infermesh-saved-usd", plain(decision.saved)))
    return tuple(headers)
