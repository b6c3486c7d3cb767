"""The calls of the contract on behalf of a tenant, whichever way they came."""

from infermesh.cache.v1 import cache_pb2
from infermesh_cache.adapters.inbound.messages import (
    answer_of,
    lookup_query,
    lookup_response,
    token_of,
    ttl_ms_of,
)
from infermesh_cache.application.cache import Cache, outcome_name
from infermesh_common.context import current


class Operations:
    """Messages to the use case and back.

    Args:
        cache: the use case.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def lookup(
        self, tenant: str, request: cache_pb2.LookupRequest
    ) -> cache_pb2.LookupResponse:
        """`Lookup` of the contract."""
        outcome = await self._cache.lookup(tenant, lookup_query(request))
        current().log_fields["outcome"] = outcome_name(outcome)
        return lookup_response(outcome)

    async def store(self, tenant: str, request: cache_pb2.StoreRequest) -> cache_pb2.StoreResponse:
        """`Store` of the contract."""
        stored = await self._cache.store(
            tenant,
            request.fingerprint,
            answer_of(request.entry),
            token=token_of(request.lease_token, required=False),
            ttl_ms=ttl_ms_of(request),
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
