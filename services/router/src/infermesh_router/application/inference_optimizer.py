"""The use case: one inference, from the request to the answer and its decision."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from infermesh_common.errors import InfermeshError
from infermesh_common.identity.model import Identity
from infermesh_router.application.attempts import ModelCall
from infermesh_router.application.cache_stage import CacheStage, CacheTicket
from infermesh_router.application.model_stage import ModelStage
from infermesh_router.domain.answer import Answer, Chunk, broken
from infermesh_router.domain.chat_stream import ChatStreamAssembler, UnmergeableStream, replay
from infermesh_router.domain.decision import Decision, Outcome, Tier
from infermesh_router.domain.openai_usage import usage_of
from infermesh_router.domain.registry import ModelRegistry, TenantView
from infermesh_router.domain.request import InferenceRequest
from infermesh_router.domain.routing import Route, Router
from infermesh_router.domain.semantic import hit_reason
from infermesh_router.ports import CachedAnswer, UsageSink


@dataclass(frozen=True, slots=True)
class Started:
    """The answer begins. For a streamed miss the decision has no amounts yet."""

    decision: Decision


Part = Started | Answer | Sequence[Chunk]


@dataclass(slots=True)
class _Run:
    """One inference under way."""

    request: InferenceRequest
    caller: Identity
    registry: ModelRegistry
    tenant: TenantView
    route: Route
    decision: Decision
    began_ns: int

    def elapsed_us(self) -> int:
        return (time.perf_counter_ns() - self.began_ns) // 1000

    def price(self) -> None:
        self.decision.price(self.registry.prices, self.tenant.route_policy.baseline_model)


class InferenceOptimizer:
    """Answers inferences at the least cost: a cache first, then the cheapest model that will do.

    Args:
        registry: gives the registry in force.
        cache_stage: tiers 1 and 2.
        model_stage: the models.
        sink: where every inference is written down.
    """

    def __init__(
        self,
        registry: Callable[[], ModelRegistry],
        cache_stage: CacheStage,
        model_stage: ModelStage,
        sink: UsageSink,
    ) -> None:
        self._registry = registry
        self._cache_stage = cache_stage
        self._model_stage = model_stage
        self._sink = sink

    async def infer(
        self, request: InferenceRequest, caller: Identity, decision: Decision
    ) -> AsyncGenerator[Part, None]:
        """First `Started`, then one `Answer`, or the chunks of a streamed one, usage included.
        `decision` is complete, and the answer whole, when the generator ends. What cost money is
        written down before that: whole answers are given, and streams end, afterwards.

        Close the generator (`contextlib.aclosing`) when the client goes away: that ends the
        upstream call.

        Raises:
            InfermeshError: before `Started`, or after it when a stream breaks.
        """
        began_ns, request_time_s = time.perf_counter_ns(), time.time()
        outcome, reason = Outcome.CANCELLED, ""
        first_byte_us = 0
        whole: Answer | None = None
        try:
            run = self._begin(request, caller, decision, began_ns)
            parts = self._answer(run)
            async with aclosing(parts):
                async for part in parts:
                    if first_byte_us == 0 and not isinstance(part, Started):
                        first_byte_us = run.elapsed_us()
                    if isinstance(part, Answer):
                        whole = part
                    else:
                        yield part
            outcome = Outcome.SUCCEEDED
        except InfermeshError as error:
            outcome, reason = Outcome.FAILED, error.reason
            raise
        except Exception:
            outcome, reason = Outcome.FAILED, "INTERNAL"
            raise
        finally:
            if outcome is not Outcome.SUCCEEDED:
                decision.settle_failure()
            self._sink.record(
                request,
                caller,
                decision,
                outcome,
                error_reason=reason,
                duration_us=(time.perf_counter_ns() - began_ns) // 1000,
                first_byte_us=first_byte_us,
                request_time_s=request_time_s,
            )
        if decision.cost:
            await self._sink.written()
        if whole is not None:
            yield whole

    def _begin(
        self, request: InferenceRequest, caller: Identity, decision: Decision, began_ns: int
    ) -> _Run:
        registry = self._registry()
        decision.configuration_revision = registry.revision
        tenant = registry.tenant(caller.tenant)
        with decision.stage("route"):
            route = _route(registry, request, tenant)
        decision.candidates, decision.reason = route.considered, route.reason
        return _Run(request, caller, registry, tenant, route, decision, began_ns)

    async def _answer(self, run: _Run) -> AsyncGenerator[Part, None]:
        policy = run.tenant.cache_policy
        with run.decision.stage("cache.lookup"):
            found = await self._cache_stage.lookup(run.request, run.route, policy, run.decision)
        if isinstance(found, CachedAnswer):
            for part in self._hit(run, found):
                yield part
            return
        make = self._streamed if run.request.stream else self._whole
        async with self._cache_stage.holding(found):
            parts = make(run, found)
            async with aclosing(parts):
                async for part in parts:
                    yield part

    def _hit(self, run: _Run, found: CachedAnswer) -> Iterator[Part]:
        decision = run.decision
        decision.tier = Tier.EXACT if found.semantic is None else Tier.SEMANTIC
        decision.model, decision.provider = found.model, found.provider
        decision.answer_usage = found.usage
        decision.entry_age_s = found.age_s
        decision.candidates = ()
        decision.reason = _why_hit(found)
        run.price()
        yield Started(decision)
        answer = Answer(found.body)
        if run.request.stream:
            with decision.stage("replay"):
                chunks = tuple(replay(answer.value))
            yield chunks
        else:
            yield answer

    async def _whole(self, run: _Run, ticket: CacheTicket) -> AsyncGenerator[Part, None]:
        decision = run.decision
        with decision.stage("model"):
            answer = await self._model_stage.complete(self._call(run), run.registry, decision)
        self._account(run, answer)
        await self._store(run, ticket, answer)
        yield Started(decision)
        yield answer

    async def _streamed(self, run: _Run, ticket: CacheTicket) -> AsyncGenerator[Part, None]:
        decision, assembler = run.decision, ChatStreamAssembler()
        pieces = self._model_stage.stream(self._call(run), run.registry, decision)
        started = False
        with decision.stage("model"):
            async with aclosing(pieces):
                async for chunks in pieces:
                    for chunk in chunks:
                        _add(assembler, chunk)
                    if not started:
                        started = True
                        yield Started(decision)
                    yield chunks
        if not assembler.finished:
            raise broken("the provider's stream ended before the answer did")
        answer = Answer(value=assembler.body())
        self._account(run, answer)
        await self._store(run, ticket, answer)

    def _call(self, run: _Run) -> ModelCall:
        policy = run.tenant.route_policy
        return ModelCall(run.request, run.route, policy.max_attempts, policy.hedge_after_ms)

    def _account(self, run: _Run, answer: Answer) -> None:
        run.decision.usage = run.decision.answer_usage = usage_of(answer.value)
        run.price()

    async def _store(self, run: _Run, ticket: CacheTicket, answer: Answer) -> None:
        with run.decision.stage("cache.store"):
            await self._cache_stage.store(
                ticket, run.request, run.tenant.cache_policy, run.decision, answer
            )


def _why_hit(found: CachedAnswer) -> str:
    if found.semantic is not None:
        return hit_reason(found.semantic)
    if found.shared:
        return "An identical request was in flight and its answer is shared."
    return "The same request was answered before."


def _route(registry: ModelRegistry, request: InferenceRequest, tenant: TenantView) -> Route:
    """The route within this revision of the resources; equal requests of a tenant share it."""
    known = cast("tuple[TenantView, Route] | None", request.derived.get("route"))
    # A tenant's view belongs to one revision.
    if known is not None and known[0] is tenant:
        return known[1]
    route = Router(registry).route(request, tenant)
    request.derived["route"] = (tenant, route)
    return route


def _add(assembler: ChatStreamAssembler, chunk: Chunk) -> None:
    if chunk.value.get("error") is not None:
        raise broken("the provider reported an error in its stream")
    try:
        assembler.add(chunk.value)
    except UnmergeableStream as error:
        raise broken(str(error)) from error
