"""`CacheService` over gRPC."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh_cache.adapters.inbound.exchange import Exchange
from infermesh_cache.adapters.inbound.messages import cursor_of, selector_of
from infermesh_cache.adapters.inbound.operations import Operations
from infermesh_cache.adapters.inbound.semantic_messages import (
    asked_of,
    decision_id_of,
    explain_response,
)
from infermesh_cache.application.cache import Cache
from infermesh_cache.application.explaining import Explaining
from infermesh_cache.application.learning import Learning
from infermesh_cache.application.semantic_cache import SemanticCache
from infermesh_common.context import current
from infermesh_common.errors import InvalidArgument
from infermesh_common.identity.model import Role

SERVICE = "infermesh.cache.v1.CacheService"
"""Full name of the service."""
ROLES = {
    f"/{SERVICE}/Invalidate": frozenset({Role.ADMIN, Role.OPERATOR, Role.SERVICE}),
    f"/{SERVICE}/Exchange": frozenset({Role.SERVICE}),
    f"/{SERVICE}/PollChanges": frozenset({Role.SERVICE}),
}
"""Methods that are not for every caller."""

Context = grpc.aio.ServicerContext[Any, Any]


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """Serves the caller's own tenant, whatever a request says.

    Args:
        cache: tier 1.
        semantic: tier 2 around it.
        explaining: what tier 2 would do.
        learning: takes feedback.
        copy_lease_ms: how long copies may be served without another poll, in milliseconds.
    """

    def __init__(
        self,
        cache: Cache,
        semantic: SemanticCache,
        explaining: Explaining,
        learning: Learning,
        *,
        copy_lease_ms: int,
    ) -> None:
        self._cache = cache
        self._semantic = semantic
        self._explaining = explaining
        self._learning = learning
        self._operations = Operations(cache, semantic)
        self._copy_lease_ms = copy_lease_ms

    async def Lookup(
        self, request: cache_pb2.LookupRequest, context: Context
    ) -> cache_pb2.LookupResponse:
        """See the contract."""
        return await self._operations.lookup(current().caller().tenant, request)

    async def Store(
        self, request: cache_pb2.StoreRequest, context: Context
    ) -> cache_pb2.StoreResponse:
        """See the contract."""
        return await self._operations.store(current().caller().tenant, request)

    async def RenewLease(
        self, request: cache_pb2.RenewLeaseRequest, context: Context
    ) -> cache_pb2.RenewLeaseResponse:
        """See the contract."""
        return await self._operations.renew_lease(current().caller().tenant, request)

    async def ReleaseLease(
        self, request: cache_pb2.ReleaseLeaseRequest, context: Context
    ) -> cache_pb2.ReleaseLeaseResponse:
        """See the contract."""
        return await self._operations.release_lease(current().caller().tenant, request)

    async def Exchange(
        self, request_iterator: AsyncIterator[cache_pb2.ExchangeRequest], context: Context
    ) -> AsyncIterator[cache_pb2.ExchangeResponse]:
        """See the contract."""
        responses = Exchange(self._operations, current()).serve(request_iterator)
        async with aclosing(responses):
            async for response in responses:
                yield response

    async def Invalidate(
        self, request: cache_pb2.InvalidateRequest, context: Context
    ) -> cache_pb2.InvalidateResponse:
        """See the contract."""
        call = current()
        count = await self._semantic.invalidate(
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

    async def ExplainLookup(
        self, request: cache_pb2.ExplainLookupRequest, context: Context
    ) -> cache_pb2.ExplainLookupResponse:
        """See the contract."""
        told = await self._explaining.explain(current().caller().tenant, asked_of(request.query))
        return explain_response(told)

    async def SendFeedback(
        self, request: cache_pb2.SendFeedbackRequest, context: Context
    ) -> cache_pb2.SendFeedbackResponse:
        """See the contract."""
        if request.verdict == cache_pb2.FEEDBACK_VERDICT_UNSPECIFIED:
            raise InvalidArgument("VERDICT_MISSING", "Say RIGHT or WRONG.", field="verdict")
        caller = current().caller()
        retired = await self._learning.feedback(
            caller.tenant,
            caller.key_id,
            decision_id_of(request.decision_id),
            wrong=request.verdict == cache_pb2.FEEDBACK_VERDICT_WRONG,
        )
        return cache_pb2.SendFeedbackResponse(retired=retired)
