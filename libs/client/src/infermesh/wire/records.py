"""From protobuf to what the mesh keeps, page by page."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from infermesh.analytics.v1 import events_pb2, ledger_pb2
from infermesh.cache.v1 import cache_pb2
from infermesh.governance.v1 import keys_pb2, tenants_pb2
from infermesh.paging import Page
from infermesh.records import (
    CacheStats,
    Health,
    IssuedKey,
    Key,
    Outcome,
    RegisteredModel,
    Role,
    SemanticCandidate,
    SemanticEvidence,
    SemanticExplanation,
    Tenant,
    UsageEvent,
    UsageRow,
)
from infermesh.router.v1 import operations_pb2
from infermesh.wire.responses import Amounts, decision, semantic_match, token_usage

_OUTCOMES = {
    events_pb2.OUTCOME_SUCCEEDED: Outcome.SUCCEEDED,
    events_pb2.OUTCOME_FAILED: Outcome.FAILED,
    events_pb2.OUTCOME_CANCELLED: Outcome.CANCELLED,
}
_ROLES = {
    keys_pb2.ROLE_MEMBER: Role.MEMBER,
    keys_pb2.ROLE_ADMIN: Role.ADMIN,
    keys_pb2.ROLE_OPERATOR: Role.OPERATOR,
    keys_pb2.ROLE_SERVICE: Role.SERVICE,
}


def usage_row(message: ledger_pb2.UsageRow) -> UsageRow:
    """One group of inferences.

    Raises:
        InternalError: INVALID_AMOUNT.
    """
    amounts = Amounts()
    return UsageRow(
        tenant=message.tenant,
        model=message.model,
        tag=message.tag,
        day=message.day,
        requests=message.requests,
        cache_hits=message.cache_hits,
        hit_rate=message.hit_rate,
        failures=message.failures,
        cost=amounts.read(message.HasField("cost"), message.cost),
        baseline_cost=amounts.read(message.HasField("baseline_cost"), message.baseline_cost),
        saved=amounts.read(message.HasField("saved"), message.saved),
        currency=amounts.currency,
        unpriced_requests=message.unpriced_requests,
        usage=token_usage(message.usage),
    )


def usage_event(message: events_pb2.UsageEvent) -> UsageEvent:
    """One inference of the ledger.

    Raises:
        InternalError: INVALID_AMOUNT.
    """
    return UsageEvent(
        event_id=message.event_id,
        request_id=message.request_id,
        request_time=_moment(message.request_time),
        tenant=message.tenant,
        key_id=message.key_id,
        requested_model=message.requested_model,
        protocol=message.protocol,
        task=message.task,
        tags=tuple(message.tags),
        streamed=message.streamed,
        outcome=_OUTCOMES.get(message.outcome, Outcome.UNKNOWN),
        error_reason=message.error_reason,
        duration_ms=message.duration_us / 1000,
        first_byte_ms=message.first_byte_us / 1000,
        decision=decision(message.decision),
    )


def key(message: keys_pb2.Key) -> Key:
    """A key without its secret."""
    has_expiry, is_revoked = message.HasField("expire_time"), message.HasField("revoke_time")
    return Key(
        key_id=message.key_id,
        tenant=message.tenant,
        role=_ROLES.get(message.role, Role.UNKNOWN),
        description=message.description,
        create_time=_moment(message.create_time) if message.HasField("create_time") else None,
        expire_time=_moment(message.expire_time) if has_expiry else None,
        revoke_time=_moment(message.revoke_time) if is_revoked else None,
        team=message.team,
    )


def issued_key(message: keys_pb2.CreateKeyResponse) -> IssuedKey:
    """A new key with its secret."""
    return IssuedKey(key=key(message.key), secret=message.secret)


def cache_stats(message: cache_pb2.GetStatsResponse) -> CacheStats:
    """Cache of a tenant."""
    return CacheStats(
        entries=message.entries,
        stored_bytes=message.stored_bytes,
        limit_bytes=message.limit_bytes,
        epoch=message.epoch,
    )


def semantic_explanation(message: cache_pb2.ExplainLookupResponse) -> SemanticExplanation:
    """What the semantic tier would make of a request."""
    evidence = message.evidence
    return SemanticExplanation(
        match=semantic_match(message.match),
        explanation=message.explanation,
        text=message.text,
        context=message.context,
        space=message.space,
        candidates=tuple(map(_candidate, message.candidates)),
        features=dict(sorted(message.features.items())),
        price=message.price,
        evidence=SemanticEvidence(
            requests=evidence.requests,
            served=evidence.served,
            compared=evidence.compared,
            compared_wrong=evidence.compared_wrong,
            known_wrong=evidence.known_wrong,
            estimated_error=evidence.estimated_error,
            error_bound=evidence.error_bound,
        ),
        flags=tuple(message.flags),
    )


def _candidate(message: cache_pb2.SemanticCandidate) -> SemanticCandidate:
    return SemanticCandidate(
        fingerprint=message.fingerprint,
        text=message.text,
        similarity=message.similarity,
        answer=message.answer,
        scope=message.scope,
        model=message.model,
        create_time=message.create_time.ToDatetime(UTC),
    )


def health(message: operations_pb2.GetHealthResponse) -> Health:
    """Health of the mesh."""
    return Health(
        status=message.status,
        dependencies=dict(sorted(message.dependencies.items())),
        configuration_revision=message.configuration_revision,
        version=message.version,
    )


def usage_page(message: ledger_pb2.QueryUsageResponse) -> Page[UsageRow]:
    """One page of groups."""
    return Page(tuple(map(usage_row, message.rows)), message.page.next_page_token)


def event_page(message: ledger_pb2.ListEventsResponse) -> Page[UsageEvent]:
    """One page of inferences."""
    return Page(tuple(map(usage_event, message.events)), message.page.next_page_token)


def key_page(message: keys_pb2.ListKeysResponse) -> Page[Key]:
    """One page of keys."""
    return Page(tuple(map(key, message.keys)), message.page.next_page_token)


def tenant_page(message: tenants_pb2.ListTenantsResponse) -> Page[Tenant]:
    """One page of tenants."""
    tenants = (Tenant(each.name, each.display_name, each.suspended) for each in message.tenants)
    return Page(tuple(tenants), message.page.next_page_token)


def model_page(message: operations_pb2.ListRegisteredModelsResponse) -> Page[RegisteredModel]:
    """One page of models."""
    return Page(tuple(map(_model, message.models)), message.page.next_page_token)


def _model(message: operations_pb2.RegisteredModel) -> RegisteredModel:
    return RegisteredModel(
        name=message.name,
        provider=message.provider,
        aliases=tuple(message.aliases),
        capabilities=tuple(message.capabilities),
        context_tokens=message.context_tokens,
        quality=dict(sorted(message.quality.items())),
        latency_ms=message.latency_ms or None,
        priced=message.priced,
    )


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
