"""The providers of the resources in force."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from infermesh_common.background import BackgroundTasks
from infermesh_common.resilience import Dependency
from infermesh_common.resources.types import Model, Provider
from infermesh_common.secrets.facade import Secrets
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.tracing import Tracing
from infermesh_router.adapters.outbound.providers.dialects import DIALECTS
from infermesh_router.adapters.outbound.providers.endpoint import ProviderEndpoint
from infermesh_router.adapters.outbound.providers.keys import ProviderKeys
from infermesh_router.application.resource_readiness import Standing
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import JsonObject, Surface
from infermesh_router.domain.resilience.key_ring import RestRules
from infermesh_router.ports import Attempt


class ProviderPool:
    """Implements `ModelProvider` over one adapter a Provider resource, made at first use.

    Args:
        breaker: thresholds of each provider's breaker.
        rests: how long keys are left alone.
        metrics: of the process.
        background: closes what a changed resource has replaced.
        tracing: of the process.
        secrets: where the keys are read.
        max_response_bytes: larger answers are refused.
    """

    def __init__(
        self,
        breaker: BreakerSettings,
        rests: RestRules,
        metrics: Metrics,
        background: BackgroundTasks,
        tracing: Tracing,
        secrets: Secrets,
        *,
        max_response_bytes: int,
    ) -> None:
        self._breaker = breaker
        self._rests = rests
        self._metrics = metrics
        self._background = background
        self._tracing = tracing
        self._secrets = secrets
        self._max_response_bytes = max_response_bytes
        self._open: dict[str, ProviderEndpoint] = {}

    async def complete(
        self,
        provider: Provider,
        model: Model,
        surface: Surface,
        body: JsonObject,
        attempt: Attempt,
    ) -> Answer:
        """See `ModelProvider.complete`."""
        endpoint = self._ready(provider) or await self._made(provider)
        return await endpoint.complete(model, surface, body, attempt)

    def stream(
        self,
        provider: Provider,
        model: Model,
        surface: Surface,
        body: JsonObject,
        attempt: Attempt,
    ) -> AsyncGenerator[list[Chunk], None]:
        """See `ModelProvider.stream`."""
        if (endpoint := self._ready(provider)) is not None:
            return endpoint.stream(model, surface, body, attempt)
        return self._first_stream(provider, model, surface, body, attempt)

    async def _first_stream(
        self,
        provider: Provider,
        model: Model,
        surface: Surface,
        body: JsonObject,
        attempt: Attempt,
    ) -> AsyncGenerator[list[Chunk], None]:
        endpoint = await self._made(provider)
        async with aclosing(endpoint.stream(model, surface, body, attempt)) as pieces:
            async for chunks in pieces:
                yield chunks

    def standing(self, provider: str) -> Standing | None:
        """What calls of a provider have shown so far; None when there were none."""
        endpoint = self._open.get(provider)
        return None if endpoint is None else endpoint.standing()

    async def close(self) -> None:
        """Closes every connection."""
        endpoints, self._open = self._open, {}
        for endpoint in endpoints.values():
            await endpoint.close()

    def _ready(self, provider: Provider) -> ProviderEndpoint | None:
        endpoint = self._open.get(provider.name)
        # Comparing takes long, and after a reload only once.
        if endpoint is None or endpoint.provider is provider:
            return endpoint
        if endpoint.provider != provider:
            return None
        endpoint.provider = provider
        return endpoint

    async def _made(self, provider: Provider) -> ProviderEndpoint:
        dependency = await Dependency.create(
            f"provider-{provider.name}",
            self._breaker.model_copy(update={"max_concurrent": provider.spec.max_concurrent}),
            self._metrics,
        )
        # Another call may have made it meanwhile.
        if (endpoint := self._ready(provider)) is not None:
            return endpoint
        replaced = self._open.get(provider.name)
        fresh = self._open[provider.name] = ProviderEndpoint(
            provider,
            DIALECTS[provider.spec.protocol],
            dependency,
            ProviderKeys(provider, self._rests, self._metrics, self._secrets),
            self._tracing,
            max_response_bytes=self._max_response_bytes,
        )
        if replaced is not None:
            self._background.start(replaced.close_when_idle(), f"close-{provider.name}")
        return fresh
