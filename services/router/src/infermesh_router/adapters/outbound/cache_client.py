"""The cache service as the router's tier 1."""

import time

from google.protobuf import duration_pb2

from infermesh.cache.v1 import cache_pb2
from infermesh_common.context import current, time_budget_s
from infermesh_common.errors import DeadlineExceeded
from infermesh_common.resilience import Dependency
from infermesh_common.usage import Usage, fill_usage, usage_from_proto
from infermesh_router.adapters.outbound.cache_exchange import CacheExchange
from infermesh_router.adapters.semantic_proto import fill_query, match_of
from infermesh_router.domain.semantic import SemanticMatch, SemanticQuestion, SemanticVerdict
from infermesh_router.ports import CachedAnswer, Leased, Missed, NewEntry
from infermesh_router.settings import CacheStageSettings


class GrpcExactCache:
    """Implements `ExactCache` over gRPC; the verified caller says whose entries they are.

    Args:
        exchange: streams to the cache service.
        dependency: its breaker and bulkhead.
        settings: time-outs.
    """

    def __init__(
        self, exchange: CacheExchange, dependency: Dependency, settings: CacheStageSettings
    ) -> None:
        self._exchange = exchange
        self._dependency = dependency
        self._settings = settings

    async def lookup(
        self,
        fingerprint: bytes,
        *,
        max_age_s: int | None,
        single_flight: bool,
        wait_ms: int,
        semantic: SemanticQuestion | None = None,
    ) -> CachedAnswer | Leased | Missed:
        """See `ExactCache.lookup`."""
        operation = _operation()
        asked = operation.lookup
        asked.fingerprint = fingerprint
        asked.single_flight = single_flight
        if max_age_s is not None:
            asked.max_age.CopyFrom(duration_pb2.Duration(seconds=max_age_s))
        if wait_ms:
            asked.wait.FromMilliseconds(wait_ms)
        timeout_ms = self._settings.lookup_timeout_ms + wait_ms
        if semantic is not None:
            fill_query(asked.semantic, semantic, current().caller())
            timeout_ms += self._settings.semantic_timeout_ms
        response = (await self._ask(operation, timeout_ms)).lookup
        match = match_of(response.semantic) if response.HasField("semantic") else None
        outcome = response.WhichOneof("outcome")
        if outcome == "hit":
            served = match is not None and match.verdict is SemanticVerdict.SERVED
            return _answer(response.hit, response.shared, match if served else None)
        token = response.semantic_token
        if outcome == "lease":
            ttl_s = response.lease.ttl.ToMilliseconds() / 1000
            return Leased(response.lease.token, ttl_s, match, token)
        return Missed(match, token)

    async def store(self, fingerprint: bytes, lease_token: str, entry: NewEntry) -> str:
        """See `ExactCache.store`."""
        operation = _operation()
        offered = operation.store
        offered.fingerprint = fingerprint
        offered.lease_token = lease_token
        offered.ttl.seconds = entry.ttl_s
        offered.semantic_token = entry.semantic_token
        offered.entry.body = entry.body
        offered.entry.model = entry.model
        offered.entry.provider = entry.provider
        offered.entry.tags.extend(entry.tags)
        if entry.usage is not None:
            offered.entry.usage.SetInParent()
            fill_usage(offered.entry.usage, entry.usage)
        response = (await self._ask(operation, self._settings.store_timeout_ms)).store
        return "" if response.stored else response.reason

    async def renew(self, fingerprint: bytes, lease_token: str) -> bool:
        """See `ExactCache.renew`."""
        operation = _operation()
        operation.renew_lease.fingerprint = fingerprint
        operation.renew_lease.lease_token = lease_token
        return (await self._ask(operation, self._settings.lookup_timeout_ms)).renew_lease.held

    async def release(self, fingerprint: bytes, lease_token: str) -> None:
        """See `ExactCache.release`."""
        operation = _operation()
        operation.release_lease.fingerprint = fingerprint
        operation.release_lease.lease_token = lease_token
        # Also when the request's own time is up: others wait for the lease.
        try:
            await self._exchange.ask(operation, self._settings.lookup_timeout_ms / 1000)
        except TimeoutError as error:
            raise DeadlineExceeded("CACHE_TIMEOUT", "The cache took too long.") from error

    async def _ask(self, operation: cache_pb2.Operation, timeout_ms: int) -> cache_pb2.Outcome:
        return await self._dependency.call(
            lambda: self._exchange.ask(operation, time_budget_s(timeout_ms)),
            timeout_ms=timeout_ms,
            failures=(),
        )


def _operation() -> cache_pb2.Operation:
    return cache_pb2.Operation(tenant=current().caller().tenant)


def _answer(entry: cache_pb2.Entry, shared: bool, semantic: SemanticMatch | None) -> CachedAnswer:
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
        semantic=semantic,
    )
