"""The cache service as the router's tier 1."""

import time

import grpc
from google.protobuf import duration_pb2

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh_common.context import time_budget_s
from infermesh_common.errors import from_rpc_error
from infermesh_common.resilience import Dependency
from infermesh_common.rpc.client import outgoing_metadata
from infermesh_common.usage import Usage, usage_from_proto, usage_to_proto
from infermesh_router.ports import CachedAnswer, Leased, Missed, NewEntry
from infermesh_router.settings import CacheStageSettings

_FAILURES = (grpc.aio.AioRpcError,)


class GrpcExactCache:
    """Implements `ExactCache` over gRPC; the caller's own key says whose entries they are.

    Args:
        channel: channel to the cache service.
        dependency: its breaker and bulkhead.
        settings: time-outs.
    """

    def __init__(
        self, channel: grpc.aio.Channel, dependency: Dependency, settings: CacheStageSettings
    ) -> None:
        self._stub = cache_pb2_grpc.CacheServiceStub(channel)
        self._dependency = dependency
        self._settings = settings

    async def lookup(
        self, fingerprint: bytes, *, max_age_s: int | None, single_flight: bool, wait_ms: int
    ) -> CachedAnswer | Leased | Missed:
        """See `ExactCache.lookup`."""
        request = cache_pb2.LookupRequest(
            fingerprint=fingerprint,
            max_age=None if max_age_s is None else duration_pb2.Duration(seconds=max_age_s),
            single_flight=single_flight,
        )
        if wait_ms:
            request.wait.FromMilliseconds(wait_ms)
        timeout_ms = self._settings.lookup_timeout_ms + wait_ms
        response = await self._dependency.call(
            lambda: self._stub.Lookup(
                request, timeout=time_budget_s(timeout_ms), metadata=outgoing_metadata()
            ),
            timeout_ms=timeout_ms,
            failures=_FAILURES,
        )
        outcome = response.WhichOneof("outcome")
        if outcome == "hit":
            return _answer(response.hit, response.shared)
        if outcome == "lease":
            return Leased(response.lease.token, response.lease.ttl.ToMilliseconds() / 1000)
        return Missed()

    async def store(self, fingerprint: bytes, lease_token: str, entry: NewEntry) -> str:
        """See `ExactCache.store`."""
        request = cache_pb2.StoreRequest(
            fingerprint=fingerprint,
            lease_token=lease_token,
            entry=cache_pb2.Entry(
                body=entry.body,
                model=entry.model,
                provider=entry.provider,
                usage=None if entry.usage is None else usage_to_proto(entry.usage),
                tags=entry.tags,
            ),
            ttl=duration_pb2.Duration(seconds=entry.ttl_s),
        )
        timeout_ms = self._settings.store_timeout_ms
        response = await self._dependency.call(
            lambda: self._stub.Store(
                request, timeout=time_budget_s(timeout_ms), metadata=outgoing_metadata()
            ),
            timeout_ms=timeout_ms,
            failures=_FAILURES,
        )
        return "" if response.stored else response.reason

    async def renew(self, fingerprint: bytes, lease_token: str) -> bool:
        """See `ExactCache.renew`."""
        request = cache_pb2.RenewLeaseRequest(fingerprint=fingerprint, lease_token=lease_token)
        try:
            response = await self._stub.RenewLease(
                request,
                timeout=time_budget_s(self._settings.lookup_timeout_ms),
                metadata=outgoing_metadata(),
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return response.held

    async def release(self, fingerprint: bytes, lease_token: str) -> None:
        """See `ExactCache.release`."""
        request = cache_pb2.ReleaseLeaseRequest(fingerprint=fingerprint, lease_token=lease_token)
        try:
            await self._stub.ReleaseLease(
                request,
                # Also when the request's own time is up: others wait for the lease.
                timeout=self._settings.lookup_timeout_ms / 1000,
                metadata=outgoing_metadata(),
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


def _answer(entry: cache_pb2.Entry, shared: bool) -> CachedAnswer:
    usage: Usage | None = usage_from_proto(entry.usage) if entry.HasField("usage") else None
    created_s = entry.create_time.ToMicroseconds() / 1e6
    return CachedAnswer(
        body=entry.body,
        model=entry.model,
        provider=entry.provider,
        usage=usage,
        age_s=max(0.0, time.time() - created_s),
        ttl_s=entry.ttl.ToMilliseconds() / 1000,
        shared=shared,
    )
