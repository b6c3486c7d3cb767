"""Asks models for an answer, in the order of the route, until one has begun to give it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from infermesh_common.errors import (
    DeadlineExceeded,
    InfermeshError,
    ResourceExhausted,
    Unavailable,
)
from infermesh_common.resources.types import Model
from infermesh_common.telemetry.metrics import Metrics
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.decision import Decision
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.request import InferenceRequest
from infermesh_router.domain.routing import Route
from infermesh_router.ports import ModelProvider

_ANOTHER_MAY_DO_BETTER = (Unavailable, DeadlineExceeded, ResourceExhausted)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request on its way to models.

    Attributes:
        request: what to answer.
        route: models to try.
        max_attempts: models tried at most.
    """

    request: InferenceRequest
    route: Route
    max_attempts: int


class ModelStage:
    """Calls providers, with fall-back along the route.

    Args:
        provider: adapter to providers.
        metrics: counts calls.
    """

    def __init__(self, provider: ModelProvider, metrics: Metrics) -> None:
        self._provider = provider
        self._calls = metrics.counter("infermesh_provider_requests_total")

    async def complete(
        self, call: ModelCall, registry: ModelRegistry, decision: Decision
    ) -> Answer:
        """The whole answer of the first model that gives one.

        Raises:
            InfermeshError: of the last model tried, or the first that the request itself caused.
        """
        failure: InfermeshError | None = None
        for model in call.route.chain[: call.max_attempts]:
            provider = registry.provider_of(model)
            decision.provider_called = True
            try:
                answer = await self._provider.complete(
                    provider, model, call.request.surface, call.request.body
                )
            except InfermeshError as error:
                failure = self._failed(model, decision, error)
                continue
            self._answered(model, decision)
            return answer
        assert failure is not None, "a route has at least one model"
        raise failure

    async def stream(
        self, call: ModelCall, registry: ModelRegistry, decision: Decision
    ) -> AsyncGenerator[list[Chunk], None]:
        """The chunks of the first model whose stream begins. Once one has begun there is no
        fall-back: the client has seen a part of it.

        Raises:
            InfermeshError: as `complete`, or when the stream breaks.
        """
        failure: InfermeshError | None = None
        for model in call.route.chain[: call.max_attempts]:
            provider = registry.provider_of(model)
            decision.provider_called = True
            pieces = self._provider.stream(provider, model, call.request.surface, call.request.body)
            async with aclosing(pieces):
                try:
                    first = await anext(pieces)
                except InfermeshError as error:
                    failure = self._failed(model, decision, error)
                    continue
                self._answered(model, decision)
                yield first
                async for piece in pieces:
                    yield piece
                return
        assert failure is not None, "a route has at least one model"
        raise failure

    def _failed(self, model: Model, decision: Decision, error: InfermeshError) -> InfermeshError:
        self._calls.labels(model.spec.provider, model.name, error.reason).inc()
        if not isinstance(error, _ANOTHER_MAY_DO_BETTER):
            decision.model, decision.provider = model.name, model.spec.provider
            raise error
        decision.fallbacks.append(f"{model.name}: {error.reason}")
        return error

    def _answered(self, model: Model, decision: Decision) -> None:
        self._calls.labels(model.spec.provider, model.name, "OK").inc()
        decision.model, decision.provider = model.name, model.spec.provider
        if decision.fallbacks:
            decision.reason = f"The models before it failed ({'; '.join(decision.fallbacks)})."
