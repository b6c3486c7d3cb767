"""Messages of the semantic tier and what they stand for."""

from decimal import Decimal, InvalidOperation

from infermesh.cache.v1 import cache_pb2
from infermesh.common.v1 import semantic_pb2
from infermesh_cache.application.explaining import EvidenceTold, Explanation
from infermesh_cache.domain.entry import check_name
from infermesh_cache.domain.match import Match, Proceeding
from infermesh_cache.learning_ports import Asked
from infermesh_cache.semantic_ports import Near
from infermesh_common.context import current
from infermesh_common.errors import InvalidArgument
from infermesh_common.identity.model import Role

_VERDICTS = {
    Proceeding.NONE: semantic_pb2.SEMANTIC_VERDICT_NONE,
    Proceeding.SERVED: semantic_pb2.SEMANTIC_VERDICT_SERVED,
    Proceeding.EXPLORED: semantic_pb2.SEMANTIC_VERDICT_EXPLORED,
    Proceeding.REFUSED: semantic_pb2.SEMANTIC_VERDICT_REFUSED,
}
_LONGEST_ID_CHARS = 64
_MOST_MODELS = 1000
_SHOWN = 10


def asked_of(query: cache_pb2.SemanticQuery) -> Asked:
    """The request that a query stands for.

    Raises:
        InvalidArgument: a field is wrong.
    """
    caller = current().caller()
    # What a service says of its caller it has verified; anybody else asks with the key it has.
    on_behalf = caller.role is Role.SERVICE and bool(query.key_id)
    key_id, team = (query.key_id, query.team) if on_behalf else (caller.key_id, caller.team)
    if len(query.models) > _MOST_MODELS:
        raise InvalidArgument(
            "MODELS_TOO_MANY", f"At most {_MOST_MODELS} models.", field="semantic.models"
        )
    return Asked(
        protocol=check_name(query.protocol, "semantic.protocol"),
        models=tuple(check_name(model, "semantic.models") for model in query.models),
        body=query.body,
        task=check_name(query.task, "semantic.task", required=False),
        call_cost_usd=_cost(query),
        decision_id=decision_id_of(query.decision_id, required=False),
        key_id=check_name(key_id, "semantic.key_id", required=False),
        team=check_name(team, "semantic.team", required=False),
    )


def decision_id_of(value: str, *, required: bool = True) -> str:
    """`value`, when it can be the id of a decision.

    Raises:
        InvalidArgument: DECISION_ID_INVALID.
    """
    fits = len(value) <= _LONGEST_ID_CHARS and value.isascii() and value.isprintable()
    if not fits or (required and not value):
        raise InvalidArgument(
            "DECISION_ID_INVALID", "That is not the id of a decision.", field="decision_id"
        )
    return value


def _cost(query: cache_pb2.SemanticQuery) -> Decimal | None:
    if not query.HasField("call_cost"):
        return None
    try:
        cost = Decimal(query.call_cost.amount)
    except InvalidOperation:
        cost = Decimal("NaN")
    if not cost.is_finite() or cost < 0 or query.call_cost.currency_code not in ("", "USD"):
        raise InvalidArgument(
            "COST_INVALID", "A cost is an amount of dollars.", field="semantic.call_cost"
        )
    return cost


def fill_match(message: semantic_pb2.SemanticMatch, match: Match) -> None:
    """Writes a match into an empty `message`."""
    message.verdict = _VERDICTS[match.proceeding]
    message.reason = match.reason
    message.similarity = match.similarity
    if match.probability is not None:
        message.probability = match.probability
    message.error_bound = match.error_bound
    message.confidence = match.confidence
    message.delta = match.delta
    message.entry = match.entry
    message.category = match.category


def explain_response(told: Explanation) -> cache_pb2.ExplainLookupResponse:
    """The response to `ExplainLookup`."""
    response = cache_pb2.ExplainLookupResponse(
        explanation=told.sentence,
        text=told.text,
        context=told.context,
        candidates=[_candidate(near) for near in told.near[:_SHOWN]],
        features=told.features,
        price=told.price,
        evidence=_evidence(told.evidence),
        space=told.space,
        flags=told.flags,
    )
    fill_match(response.match, told.match)
    return response


def _candidate(near: Near) -> cache_pb2.SemanticCandidate:
    record = near.record
    message = cache_pb2.SemanticCandidate(
        fingerprint=record.entry_id,
        text=record.text,
        similarity=near.similarity,
        answer=record.answer,
        scope=record.scope,
        model=record.model,
    )
    message.create_time.FromMicroseconds(record.create_time_us)
    return message


def _evidence(told: EvidenceTold) -> cache_pb2.SemanticEvidence:
    return cache_pb2.SemanticEvidence(
        requests=told.requests,
        served=told.served,
        compared=told.compared,
        compared_wrong=told.compared_wrong,
        known_wrong=told.known_wrong,
        estimated_error=told.estimated_error,
        error_bound=told.error_bound,
    )
