"""The caches around one request: lookup, single flight, lease, store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

import orjson
import structlog

from infermesh_common.background import BackgroundTasks
from infermesh_common.errors import InfermeshError, NotFound
from infermesh_common.fingerprint import DELIVERY_FIELDS, fingerprint
from infermesh_common.resources.types import CachePolicySpec
from infermesh_router.domain.answer import Answer
from infermesh_router.domain.caching import lookup_objection, store_objection
from infermesh_router.domain.decision import CacheStatus, Decision
from infermesh_router.domain.request import InferenceRequest, Surface
from infermesh_router.domain.routing import Route
from infermesh_router.domain.semantic import SemanticQuestion
from infermesh_router.ports import CachedAnswer, ExactCache, Leased, Missed, NewEntry

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class CacheTicket:
    """What a request may do with the cache after its lookup.

    Attributes:
        fingerprint: identity of the request; None when no cache is involved.
        lease: held while this request makes the answer for others too.
        objection: why the answer will not be stored; None when it may be.
        semantic_token: by which the semantic tier learns of the answer; empty: it does not.
    """

    fingerprint: bytes | None = None
    lease: Leased | None = None
    objection: str | None = None
    semantic_token: str = ""


class CacheStage:
    """Looks answers up and stores them; a cache that fails never fails the request.

    Args:
        cache: tiers 1 and 2.
        background: runs what must outlive a request that was given up.
        flight_poll_ms: see `CacheStageSettings`.
    """

    def __init__(
        self, cache: ExactCache, background: BackgroundTasks, *, flight_poll_ms: int
    ) -> None:
        self._cache = cache
        self._background = background
        self._flight_poll_ms = flight_poll_ms

    async def lookup(
        self,
        request: InferenceRequest,
        route: Route,
        policy: CachePolicySpec,
        decision: Decision,
    ) -> CachedAnswer | CacheTicket:
        """The stored answer, or what is to be done with a new one.

        Raises:
            NotFound: CACHE_MISS, the request says only-if-cached and there is no entry.
        """
        control = request.cache
        if objection := lookup_objection(request, policy):
            decision.cache_status = CacheStatus.INELIGIBLE
            return self._without(request, objection)
        if control.bypass:
            decision.cache_status = CacheStatus.BYPASS
            return self._without(request, "the request says bypass")
        identity = _identity(request, route, policy)
        decision.fingerprint = identity.hex()
        if control.refresh:
            decision.cache_status = CacheStatus.REFRESH
            return CacheTicket(identity)
        try:
            question = _question(request, route, policy, decision)
            found = await self._find(identity, request, policy, question)
        except InfermeshError as error:
            decision.cache_status = CacheStatus.UNAVAILABLE
            _log.info("cache_unavailable", reason=error.reason)
            return self._without(request, f"the cache did not answer: {error.reason}")
        if isinstance(found, CachedAnswer):
            decision.cache_status = CacheStatus.SHARED if found.shared else CacheStatus.HIT
            decision.semantic = found.semantic
            return found
        decision.cache_status = CacheStatus.MISS
        decision.semantic = found.semantic
        if control.only_if_cached:
            raise _miss()
        if isinstance(found, Missed) and policy.single_flight:
            # Without a lease the cache cannot tell whether this answer is older than an
            # invalidation; the one that holds the lease stores its own.
            return CacheTicket(identity, objection="an identical request is making the entry")
        lease = found if isinstance(found, Leased) else None
        return CacheTicket(identity, lease, semantic_token=found.semantic_token)

    async def _find(
        self,
        identity: bytes,
        request: InferenceRequest,
        policy: CachePolicySpec,
        question: SemanticQuestion | None,
    ) -> CachedAnswer | Leased | Missed:
        control = request.cache
        # A request that will not store cannot make the answer for others.
        shares = policy.single_flight and not (control.only_if_cached or control.no_store)
        waits_ms = policy.single_flight_wait_ms if shares else 0
        wait_ms = 0
        first: Leased | Missed | None = None
        while True:
            # A request is asked about by meaning once, not each time it looks whether an identical
            # one is done.
            found = await self._cache.lookup(
                identity,
                max_age_s=control.max_age_s,
                single_flight=shares,
                wait_ms=wait_ms,
                semantic=question if first is None else None,
            )
            if isinstance(found, CachedAnswer):
                return found
            if first is not None:
                found = replace(found, semantic=first.semantic, semantic_token=first.semantic_token)
            if isinstance(found, Leased) or waits_ms <= 0:
                return found
            first = found
            wait_ms = min(self._flight_poll_ms, waits_ms)
            waits_ms -= wait_ms

    def _without(self, request: InferenceRequest, objection: str) -> CacheTicket:
        if request.cache.only_if_cached:
            raise _miss()
        return CacheTicket(objection=objection)

    @asynccontextmanager
    async def holding(self, ticket: CacheTicket) -> AsyncIterator[None]:
        """Renews the ticket's lease while the block runs; gives it up if the block did not store.

        Giving up goes on in the background: the request may have been cancelled.
        """
        keeper = None
        if ticket.fingerprint is not None and ticket.lease is not None:
            keeper = self._background.start(
                self._renew(ticket.fingerprint, ticket.lease), "lease-renewal"
            )
        try:
            yield
        finally:
            if keeper is not None:
                keeper.cancel()
            if ticket.fingerprint is not None and ticket.lease is not None:
                self._background.start(
                    self._release(ticket.fingerprint, ticket.lease), "lease-release"
                )

    async def _renew(self, identity: bytes, lease: Leased) -> None:
        try:
            while True:
                await asyncio.sleep(lease.ttl_s / 3)
                if not await self._cache.renew(identity, lease.token):
                    return
        except InfermeshError as error:
            _log.info("lease_not_renewed", reason=error.reason)

    async def _release(self, identity: bytes, lease: Leased) -> None:
        try:
            await self._cache.release(identity, lease.token)
        except InfermeshError as error:
            _log.info("lease_not_released", reason=error.reason)

    async def store(
        self,
        ticket: CacheTicket,
        request: InferenceRequest,
        policy: CachePolicySpec,
        decision: Decision,
        answer: Answer,
    ) -> None:
        """Stores `answer` when it may be stored; the outcome goes into `decision`."""
        objection = ticket.objection or store_objection(
            request, policy, answer.value, len(answer.data)
        )
        if objection is not None or ticket.fingerprint is None:
            decision.store_outcome = objection or "no cache"
            return
        entry = NewEntry(
            body=answer.data,
            model=decision.model,
            provider=decision.provider,
            usage=decision.answer_usage,
            tags=request.tags,
            ttl_s=min(request.cache.ttl_s or policy.ttl_seconds, policy.ttl_seconds),
            semantic_token=ticket.semantic_token,
        )
        token = ticket.lease.token if ticket.lease else ""
        try:
            refusal = await self._cache.store(ticket.fingerprint, token, entry)
        except InfermeshError as error:
            decision.store_outcome = f"the cache did not answer: {error.reason}"
            return
        decision.store_outcome = refusal or "stored"
        if not refusal:
            ticket.lease = None


def _identity(request: InferenceRequest, route: Route, policy: CachePolicySpec) -> bytes:
    known = cast("tuple[Route, int, bytes] | None", request.derived.get("fingerprint"))
    if known is not None and known[0] is route and known[1] == policy.epoch:
        return known[2]
    identity = fingerprint(
        protocol=request.surface.value,
        models=route.model_set,
        body=request.body,
        epoch=policy.epoch,
    )
    request.derived["fingerprint"] = (route, policy.epoch, identity)
    return identity


def _question(
    request: InferenceRequest, route: Route, policy: CachePolicySpec, decision: Decision
) -> SemanticQuestion | None:
    """The request for the semantic tier; None when it is not to be asked."""
    if not policy.semantic.enabled or request.surface is not Surface.CHAT:
        return None
    body = cast("bytes | None", request.derived.get("semantic_body"))
    if body is None:
        body = orjson.dumps({k: v for k, v in request.body.items() if k not in DELIVERY_FIELDS})
        request.derived["semantic_body"] = body
    return SemanticQuestion(
        protocol=request.surface.value,
        models=route.model_set,
        body=body,
        task=request.task,
        call_cost=route.considered[0].estimated_cost,
        decision_id=decision.decision_id,
    )


def _miss() -> NotFound:
    return NotFound("CACHE_MISS", "The request says only-if-cached and no entry matches.")
