"""The calls of the contract on behalf of a tenant, whichever way they came."""

from infermesh.cache.v1 import cache_pb2
from infermesh_cache.adapters.inbound.messages import (
    answer_of,
    lookup_query,
    lookup_response,
    token_of,
    ttl_ms_of,
)
from infermesh_cache.adapters.inbound.semantic_messages import asked_of, fill_match
from infermesh_cache.application.cache import Cache, outcome_name
from infermesh_cache.application.semantic_cache import SemanticCache
from infermesh_common.context import current


class Operations:
    """Messages to the use case and back.

    Args:
        cache: tier 1.
        semantic: tier 2 around it.
    """

    def __init__(self, cache: Cache, semantic: SemanticCache) -> None:
        self._cache = cache
        self._semantic = semantic

    async def lookup(
        self, tenant: str, request: cache_pb2.LookupRequest
    ) -> cache_pb2.LookupResponse:
        """`Lookup` of the contract."""
        query = lookup_query(request)
        if not request.HasField("semantic"):
            outcome = await self._cache.lookup(tenant, query)
            current().log_fields["outcome"] = outcome_name(outcome)
            return lookup_response(outcome)
        looked = await self._semantic.lookup(tenant, query, asked_of(request.semantic))
        fields = current().log_fields
        fields["outcome"] = outcome_name(looked.outcome)
        response = lookup_response(looked.outcome)
        response.semantic_token = looked.token
        if looked.match is not None:
            fields["semantic"] = looked.match.reason.lower()
            fill_match(response.semantic, looked.match)
        return response

    async def store(self, tenant: str, request: cache_pb2.StoreRequest) -> cache_pb2.StoreResponse:
        """`Store` of the contract."""
        stored = await self._semantic.store(
            tenant,
            request.fingerprint,
            answer_of(request.entry),
            token=token_of(request.lease_token, required=False),
            ttl_ms=ttl_ms_of(request),
            semantic_token=token_of(request.semantic_token, required=False, field="semantic_token"),
        )
        current().log_fields["outcome"] = stored.reason.lower() or "stored"
        return cache_pb2.StoreResponse(
            stored=not stored.reason, reason=stored.reason, version=stored.version
        )

    async def renew_lease(
        self, tenant: str, request: cache_pb2.RenewLeaseRequest
    ) -> cache_pb2.RenewLeaseResponse:
        """`RenewLease` of the contract."""
        token = token_of(request.lease_token, required=True)
        held = await self._cache.renew(tenant, request.fingerprint, token)
        current().log_fields["outcome"] = "held" if held else "lost"
        return cache_pb2.RenewLeaseResponse(held=held)

    async def release_lease(
        self, tenant: str, request: cache_pb2.ReleaseLeaseRequest
    ) -> cache_pb2.ReleaseLeaseResponse:
        """`ReleaseLease` of the contract."""
        token = token_of(request.lease_token, required=True)
        await self._cache.release(tenant, request.fingerprint, token)
        return cache_pb2.ReleaseLeaseResponse()
