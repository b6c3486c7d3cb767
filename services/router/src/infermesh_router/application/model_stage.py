"""Asks models for an answer, in the order of the route, until one has begun to give it."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from infermesh_common.errors import InfermeshError
from infermesh_common.telemetry.metrics import Metrics
from infermesh_router.application.attempts import AttemptMetrics, Attempts, ModelCall, Try
from infermesh_router.application.hedging import Ask, Discard, HedgedRace, T
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.decision import Decision
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.resilience.retry_budget import RetryBudget
from infermesh_router.ports import ModelProvider


@dataclass(frozen=True, slots=True)
class RetryRules:
    """See `RetryBudget`."""

    share: float
    per_second: float


@dataclass(slots=True)
class _Begun:
    """A stream whose first chunks are there."""

    first: list[Chunk]
    rest: AsyncGenerator[list[Chunk], None]


class ModelStage:
    """Calls providers, with fall-back along the route.

    Args:
        provider: adapter to providers.
        metrics: counts calls.
        retries: how many attempts there may be beyond the first of each request.
    """

    def __init__(self, provider: ModelProvider, metrics: Metrics, retries: RetryRules) -> None:
        self._provider = provider
        self._metrics = AttemptMetrics(metrics)
        self._retries = retries
        self._budgets: dict[str, RetryBudget] = {}

    async def complete(
        self, call: ModelCall, registry: ModelRegistry, decision: Decision
    ) -> Answer:
        """The whole answer of the first model that gives one.

        Raises:
            InfermeshError: of the last model called, or the first that the request itself caused.
        """
        request = call.request

        async def ask(made: Try) -> Answer:
            return await self._provider.complete(
                made.provider, made.model, request.surface, request.body, made.attempt
            )

        async def discard(answer: Answer) -> None:
            """Nothing is open any more."""

        return await self._first(call, registry, decision, ask, discard)

    async def stream(
        self, call: ModelCall, registry: ModelRegistry, decision: Decision
    ) -> AsyncGenerator[list[Chunk], None]:
        """The chunks of the first model whose stream begins. Once one has begun there is no
        fall-back: the client has seen a part of it.

        Raises:
            InfermeshError: as `complete`, or when the stream breaks.
        """
        request = call.request

        async def ask(made: Try) -> _Begun:
            pieces = self._provider.stream(
                made.provider, made.model, request.surface, request.body, made.attempt
            )
            # When it fails or is cancelled here, the generator has ended.
            return _Begun(await anext(pieces), pieces)

        async def discard(begun: _Begun) -> None:
            await begun.rest.aclose()

        begun = await self._first(call, registry, decision, ask, discard)
        async with aclosing(begun.rest):
            yield begun.first
            async for chunks in begun.rest:
                yield chunks

    async def _first(
        self,
        call: ModelCall,
        registry: ModelRegistry,
        decision: Decision,
        ask: Ask[T],
        discard: Discard[T],
    ) -> T:
        """What the first model that begins to answer has begun."""
        budget = self._budget(call.route.chain[0].spec.provider)
        attempts = Attempts(call, registry, decision, budget, self._metrics)
        try:
            if call.hedge_after_ms is not None and len(call.route.chain) > 1:
                race = HedgedRace(attempts, ask, discard, call.hedge_after_ms / 1000)
                return await race.run()
            while (made := attempts.next()) is not None:
                try:
                    begun = await ask(made)
                except InfermeshError as error:
                    attempts.failed(made, error)
                else:
                    attempts.answered(made)
                    return begun
            raise attempts.failure()
        finally:
            # Also of a request that is given up meanwhile.
            decision.provider_called = attempts.called

    def _budget(self, provider: str) -> RetryBudget:
        budget = self._budgets.get(provider)
        if budget is None:
            rules = self._retries
            budget = RetryBudget(rules.share, rules.per_second, time.monotonic)
            self._budgets[provider] = budget
        return budget
