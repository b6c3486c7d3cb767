"""`CacheService` over gRPC."""

from typing import Any

import grpc

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh_cache.adapters.inbound.messages import (
    answer_of,
    cursor_of,
    lookup_query,
    lookup_response,
    selector_of,
    token_of,
    ttl_ms_of,
)
from infermesh_cache.application.cache import Cache, outcome_name
from infermesh_common.context import current
from infermesh_common.identity.model import Role

SERVICE = "infermesh.cache.v1.CacheService"
"""Full name of the service."""
ROLES = {
    f"/{SERVICE}/Invalidate": frozenset({Role.ADMIN, Role.OPERATOR, Role.SERVICE}),
    f"/{SERVICE}/PollChanges": frozenset({Role.SERVICE}),
}
"""Methods that are not for every caller."""

Context = grpc.aio.ServicerContext[Any, Any]


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """Serves the caller's own tenant, whatever a request says.

    Args:
        cache: the use case.
        copy_lease_ms: how long copies may be served without another poll, in milliseconds.
    """

    def __init__(self, cache: Cache, *, copy_lease_ms: int) -> None:
        self._cache = cache
        self._copy_lease_ms = copy_lease_ms

    async def Lookup(
        self, request: cache_pb2.LookupRequest, context: Context
    ) -> cache_pb2.LookupResponse:
        """See the contract."""
        call = current()
        outcome = await self._cache.lookup(call.caller().tenant, lookup_query(request))
        call.log_fields["outcome"] = outcome_name(outcome)
        return lookup_response(outcome)

    async def Store(
        self, request: cache_pb2.StoreRequest, context: Context
    ) -> cache_pb2.StoreResponse:
        """See the contract."""
        call = current()
        stored = await self._cache.store(
            call.caller().tenant,
            request.fingerprint,
            answer_of(request.entry),
            token=token_of(request.lease_token, required=False),
            ttl_ms=ttl_ms_of(request),
        )
        call.log_fields["outcome"] = stored.reason.lower() or "stored"
        return cache_pb2.StoreResponse(
            stored=not stored.reason, reason=stored.reason, version=stored.version
        )

    async def RenewLease(
        self, request: cache_pb2.RenewLeaseRequest, context: Context
    ) -> cache_pb2.RenewLeaseResponse:
        """See the contract."""
        call = current()
        held = await self._cache.renew(
            call.caller().tenant,
            request.fingerprint,
            token_of(request.lease_token, required=True),
        )
        call.log_fields["outcome"] = "held" if held else "lost"
        return cache_pb2.RenewLeaseResponse(held=held)

    async def ReleaseLease(
        self, request: cache_pb2.ReleaseLeaseRequest, context: Context
    ) -> cache_pb2.ReleaseLeaseResponse:
        """See the contract."""
        await self._cache.release(
            current().caller().tenant,
            request.fingerprint,
            token_of(request.lease_token, required=True),
        )
        return cache_pb2.ReleaseLeaseResponse()

    async def Invalidate(
        self, request: cache_pb2.InvalidateRequest, context: Context
    ) -> cache_pb2.InvalidateResponse:
        """See the contract."""
        call = current()
        count = await self._cache.invalidate(
            call.caller().tenant, selector_of(request), dry_run=request.dry_run
        )
        call.log_fields["count"] = count
        return cache_pb2.InvalidateResponse(count=count)

    async def PollChanges(
        self, request: cache_pb2.PollChangesRequest, context: Context
    ) -> cache_pb2.PollChangesResponse:
        """See the contract."""
        changes = await self._cache.changes(cursor_of(request))
        response = cache_pb2.PollChangesResponse(
            cursor=changes.cursor, tenants=changes.tenants, all=changes.tenants is None
        )
        response.lease.FromMilliseconds(self._copy_lease_ms)
        return response

    async def GetStats(
        self, request: cache_pb2.GetStatsRequest, context: Context
    ) -> cache_pb2.GetStatsResponse:
        """See the contract."""
        stats = await self._cache.stats(current().caller().tenant)
        return cache_pb2.GetStatsResponse(
            entries=stats.holdings.entries,
            stored_bytes=stats.holdings.stored_bytes,
            limit_bytes=stats.limit_bytes,
            epoch=stats.epoch,
        )
