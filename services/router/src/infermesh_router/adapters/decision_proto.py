"""Decisions as protobuf messages and as response headers."""

from infermesh.common.v1 import decision_pb2
from infermesh_common.usage import fill_money, fill_usage, plain
from infermesh_router.adapters.semantic_proto import fill_match, match_headers
from infermesh_router.domain.decision import CacheStatus, Decision, Tier

_TIERS = {
    Tier.NONE: decision_pb2.CACHE_TIER_NONE,
    Tier.EXACT: decision_pb2.CACHE_TIER_EXACT,
    Tier.SEMANTIC: decision_pb2.CACHE_TIER_SEMANTIC,
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
    message = decision_pb2.Decision()
    fill_decision(message, decision)
    return message


def fill_decision(message: decision_pb2.Decision, decision: Decision) -> None:
    """Writes a decision into an empty `message`."""
    message.decision_id = decision.decision_id
    message.tier = _TIERS[decision.tier]
    message.cache_status = _STATUSES[decision.cache_status]
    message.model = decision.model
    message.provider = decision.provider
    message.reason = decision.reason
    for considered in decision.candidates:
        candidate = message.candidates.add(
            model=considered.model, eligible=considered.eligible, reason=considered.reason
        )
        fill_money(candidate.estimated_cost, considered.estimated_cost)
    message.price_version = decision.price_version
    fill_money(message.cost, decision.cost)
    fill_money(message.baseline_cost, decision.baseline_cost)
    fill_money(message.saved, decision.saved)
    message.baseline_model = decision.baseline_model
    if decision.usage is not None:
        message.usage.SetInParent()
        fill_usage(message.usage, decision.usage)
    if decision.answer_usage is not None:
        message.baseline_usage.SetInParent()
        fill_usage(message.baseline_usage, decision.answer_usage)
    for stage, duration_us in decision.stages:
        message.stages.add(stage=stage, duration_us=duration_us)
    message.configuration_revision = decision.configuration_revision
    if (age := decision.entry_age_s) is not None:
        message.entry_age.seconds = int(age)
        message.entry_age.nanos = int(age % 1 * 1e9)
    message.fingerprint = decision.fingerprint
    message.store_outcome = decision.store_outcome
    message.fallbacks.extend(decision.fallbacks)
    if decision.semantic is not None:
        message.semantic.SetInParent()
        fill_match(message.semantic, decision.semantic)


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
    if (saved := decision.saved) is not None:
        headers.append(("x-infermesh-saved-usd", plain(saved)))
    if decision.semantic is not None:
        headers.extend(match_headers(decision.semantic))
    return tuple(headers)
