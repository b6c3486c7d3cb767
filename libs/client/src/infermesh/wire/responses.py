"""From protobuf to what an inference gives back."""

from decimal import Decimal, InvalidOperation

from infermesh.common.v1 import decision_pb2, money_pb2, semantic_pb2, usage_pb2
from infermesh.errors import InternalError
from infermesh.inference import (
    CacheStatus,
    Candidate,
    Decision,
    InferResult,
    Message,
    SemanticMatch,
    SemanticVerdict,
    StageTiming,
    Tier,
    TokenUsage,
    ToolCall,
)
from infermesh.router.v1 import inference_pb2

_TIERS = {
    decision_pb2.CACHE_TIER_NONE: Tier.NONE,
    decision_pb2.CACHE_TIER_EXACT: Tier.EXACT,
    decision_pb2.CACHE_TIER_SEMANTIC: Tier.SEMANTIC,
    decision_pb2.CACHE_TIER_INTERMEDIATE: Tier.INTERMEDIATE,
}
_STATUSES = {
    decision_pb2.CACHE_STATUS_HIT: CacheStatus.HIT,
    decision_pb2.CACHE_STATUS_MISS: CacheStatus.MISS,
    decision_pb2.CACHE_STATUS_BYPASS: CacheStatus.BYPASS,
    decision_pb2.CACHE_STATUS_REFRESH: CacheStatus.REFRESH,
    decision_pb2.CACHE_STATUS_INELIGIBLE: CacheStatus.INELIGIBLE,
    decision_pb2.CACHE_STATUS_UNAVAILABLE: CacheStatus.UNAVAILABLE,
    decision_pb2.CACHE_STATUS_SHARED: CacheStatus.SHARED,
}
_VERDICTS = {
    semantic_pb2.SEMANTIC_VERDICT_NONE: SemanticVerdict.NONE,
    semantic_pb2.SEMANTIC_VERDICT_SERVED: SemanticVerdict.SERVED,
    semantic_pb2.SEMANTIC_VERDICT_EXPLORED: SemanticVerdict.EXPLORED,
    semantic_pb2.SEMANTIC_VERDICT_REFUSED: SemanticVerdict.REFUSED,
}


class Amounts:
    """Reads amounts of money that belong together and are to be in one currency."""

    def __init__(self) -> None:
        self.currency = ""

    def read(self, present: bool, money: money_pb2.Money) -> Decimal | None:
        """The exact amount; None when it is not present, for unknown is not 0.

        Raises:
            InternalError: INVALID_AMOUNT, it is not a number, or in another currency.
        """
        if not present:
            return None
        try:
            amount = Decimal(money.amount)
        except InvalidOperation:
            amount = Decimal("NaN")
        self.currency = self.currency or money.currency_code
        if not amount.is_finite() or money.currency_code != self.currency:
            raise InternalError(
                "The mesh answered with an amount of money that cannot be read.",
                reason="INVALID_AMOUNT",
            )
        return amount


def token_usage(message: usage_pb2.TokenUsage) -> TokenUsage:
    """Token counts."""
    return TokenUsage(
        input_tokens=message.input_tokens,
        cached_input_tokens=message.cached_input_tokens,
        output_tokens=message.output_tokens,
        reasoning_tokens=message.reasoning_tokens,
        batch_input_tokens=message.batch_input_tokens,
        batch_output_tokens=message.batch_output_tokens,
        cache_write_input_tokens=message.cache_write_input_tokens,
    )


def decision(message: decision_pb2.Decision) -> Decision:
    """A decision.

    Raises:
        InternalError: INVALID_AMOUNT.
    """
    amounts = Amounts()
    cost = amounts.read(message.HasField("cost"), message.cost)
    baseline_cost = amounts.read(message.HasField("baseline_cost"), message.baseline_cost)
    saved = amounts.read(message.HasField("saved"), message.saved)
    candidates = tuple(_candidate(candidate, amounts) for candidate in message.candidates)
    has_baseline_usage = message.HasField("baseline_usage")
    return Decision(
        decision_id=message.decision_id,
        tier=_TIERS.get(message.tier, Tier.UNKNOWN),
        cache_status=_STATUSES.get(message.cache_status, CacheStatus.UNKNOWN),
        model=message.model,
        provider=message.provider,
        reason=message.reason,
        candidates=candidates,
        price_version=message.price_version,
        currency=amounts.currency,
        cost=cost,
        baseline_cost=baseline_cost,
        saved=saved,
        baseline_model=message.baseline_model,
        usage=token_usage(message.usage) if message.HasField("usage") else None,
        baseline_usage=token_usage(message.baseline_usage) if has_baseline_usage else None,
        stages=tuple(
            StageTiming(stage.stage, stage.duration_us / 1000) for stage in message.stages
        ),
        configuration_revision=message.configuration_revision,
        entry_age_s=(
            message.entry_age.ToMicroseconds() / 1_000_000
            if message.HasField("entry_age")
            else None
        ),
        fingerprint=message.fingerprint,
        store_outcome=message.store_outcome,
        fallbacks=tuple(message.fallbacks),
        semantic=semantic_match(message.semantic) if message.HasField("semantic") else None,
    )


def semantic_match(message: semantic_pb2.SemanticMatch) -> SemanticMatch:
    """How sure the semantic tier was."""
    return SemanticMatch(
        verdict=_VERDICTS.get(message.verdict, SemanticVerdict.UNKNOWN),
        reason=message.reason,
        similarity=message.similarity,
        probability=message.probability if message.HasField("probability") else None,
        error_bound=message.error_bound,
        confidence=message.confidence,
        delta=message.delta,
        entry=message.entry,
        category=message.category,
    )


def infer_result(message: inference_pb2.InferResponse) -> InferResult:
    """An answer.

    Raises:
        InternalError: INVALID_AMOUNT.
    """
    turn = message.message
    return InferResult(
        text=turn.content,
        message=Message(
            role=turn.role,
            content=turn.content,
            name=turn.name,
            tool_calls=tuple(
                ToolCall(call.id, call.name, call.arguments) for call in turn.tool_calls
            ),
            tool_call_id=turn.tool_call_id,
        ),
        model=message.model,
        finish_reason=message.finish_reason,
        usage=token_usage(message.usage) if message.HasField("usage") else None,
        decision=decision(message.decision),
        request_id=message.request_id,
    )


def _candidate(message: decision_pb2.Candidate, amounts: Amounts) -> Candidate:
    return Candidate(
        model=message.model,
        eligible=message.eligible,
        reason=message.reason,
        estimated_cost=amounts.read(message.HasField("estimated_cost"), message.estimated_cost),
    )
