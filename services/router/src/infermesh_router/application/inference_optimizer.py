"""The use case: one inference, from the request to the answer and its decision."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import orjson

from infermesh_common.errors import InfermeshError, Unavailable
from infermesh_common.identity.model import Identity
from infermesh_router.application.cache_stage import CacheStage, CacheTicket
from infermesh_router.application.model_stage import ModelCall, ModelStage
from infermesh_router.domain.chat_stream import (
    DONE,
    ChatStreamAssembler,
    UnmergeableStream,
    replay,
)
from infermesh_router.domain.decision import Decision, Outcome, Tier
from infermesh_router.domain.openai_usage import usage_of
from infermesh_router.domain.registry import ModelRegistry, TenantView
from infermesh_router.domain.request import InferenceRequest, JsonObject
from infermesh_router.domain.routing import Route, Router
from infermesh_router.ports import CachedAnswer, UsageSink


@dataclass(frozen=True, slots=True)
class Started:
    """The answer begins. For a streamed miss the decision has no amounts yet."""

    decision: Decision


Part = Started | bytes


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
        cache_stage: tier 1.
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
        """First `Started`, then the pieces of the answer: one body, or server-sent events up to
        and including `[DONE]`. `decision` is complete when the generator ends.

        Close the generator (`contextlib.aclosing`) when the client goes away: that ends the
        upstream call.

        Raises:
            InfermeshError: before `Started`, or after it when a stream breaks.
        """
        began_ns, request_time_s = time.perf_counter_ns(), time.time()
        outcome, reason = Outcome.CANCELLED, ""
        first_byte_us = 0
        try:
            run = self._begin(request, caller, decision, began_ns)
            parts = self._answer(run)
            async with aclosing(parts):
                async for part in parts:
                    if first_byte_us == 0 and not isinstance(part, Started):
                        first_byte_us = run.elapsed_us()
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

    def _begin(
        self, request: InferenceRequest, caller: Identity, decision: Decision, began_ns: int
    ) -> _Run:
        registry = self._registry()
        decision.configuration_revision = registry.revision
        tenant = registry.tenant(caller.tenant)
        with decision.stage("route"):
            route = Router(registry).route(request, tenant)
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
        decision.tier = Tier.EXACT
        decision.model, decision.provider = found.model, found.provider
        decision.answer_usage = found.usage
        decision.entry_age_s = found.age_s
        decision.candidates = ()
        decision.reason = (
            "An identical request was in flight and its answer is shared."
            if found.shared
            else "The same request was answered before."
        )
        run.price()
        yield Started(decision)
        if run.request.stream:
            with decision.stage("replay"):
                events = replay(orjson.loads(found.body), include_usage=run.request.include_usage)
                yield b"".join(events)
        else:
            yield found.body

    async def _whole(self, run: _Run, ticket: CacheTicket) -> AsyncGenerator[Part, None]:
        decision = run.decision
        with decision.stage("model"):
            body = await self._model_stage.complete(
                self._call(run, run.request.body), run.registry, decision
            )
        answer = _parse_answer(body)
        self._account(run, answer)
        await self._store(run, ticket, answer, body)
        yield Started(decision)
        yield body

    async def _streamed(self, run: _Run, ticket: CacheTicket) -> AsyncGenerator[Part, None]:
        decision, assembler = run.decision, ChatStreamAssembler()
        # The usage chunk is needed for the ledger; the client gets it only if it asked for it.
        options = run.request.body.get("stream_options")
        options = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        body = {**run.request.body, "stream": True, "stream_options": options}
        events = self._model_stage.stream(self._call(run, body), run.registry, decision)
        started = False
        with decision.stage("model"):
            async with aclosing(events):
                async for data in events:
                    chunk = _parse_answer(data)
                    _add(assembler, chunk)
                    if not started:
                        started = True
                        yield Started(decision)
                    if run.request.include_usage or not _is_usage_only(chunk):
                        yield b"data: " + data + b"\n\n"
        if not assembler.finished:
            raise _broken("the provider's stream ended before the answer did")
        answer = assembler.body()
        self._account(run, answer)
        await self._store(run, ticket, answer, orjson.dumps(answer))
        yield DONE

    def _call(self, run: _Run, body: JsonObject) -> ModelCall:
        return ModelCall(run.request, body, run.route, run.tenant.route_policy.max_attempts)

    def _account(self, run: _Run, answer: JsonObject) -> None:
        run.decision.usage = run.decision.answer_usage = usage_of(answer)
        run.price()

    async def _store(self, run: _Run, ticket: CacheTicket, answer: JsonObject, body: bytes) -> None:
        with run.decision.stage("cache.store"):
            await self._cache_stage.store(
                ticket, run.request, run.tenant.cache_policy, run.decision, answer, body
            )


def _parse_answer(data: bytes) -> JsonObject:
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _broken("the provider's answer is not JSON") from error
    if not isinstance(answer, dict):
        raise _broken("the provider's answer is not an object")
    return answer


def _add(assembler: ChatStreamAssembler, chunk: JsonObject) -> None:
    if chunk.get("error") is not None:
        raise _broken("the provider reported an error in its stream")
    try:
        assembler.add(chunk)
    except UnmergeableStream as error:
        raise _broken(str(error)) from error


def _is_usage_only(chunk: JsonObject) -> bool:
    return chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)


def _broken(what: str) -> Unavailable:
    return Unavailable("PROVIDER_STREAM_BROKEN", f"The answer broke off: {what}.")
