"""The providers of the resources in force."""

from collections.abc import AsyncGenerator

from infermesh_common.background import BackgroundTasks
from infermesh_common.resilience import Dependency
from infermesh_common.resources.types import Model, Provider
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.tracing import Tracing
from infermesh_router.adapters.outbound.providers.dialect import Dialect
from infermesh_router.adapters.outbound.providers.endpoint import ProviderEndpoint
from infermesh_router.adapters.outbound.providers.openai import OpenAIDialect
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import JsonObject, Surface

DIALECTS: dict[str, Dialect] = {"openai": OpenAIDialect()}
"""By `ProviderSpec.protocol`."""


class ProviderPool:
    """Implements `ModelProvider` over one adapter a Provider resource, made at first use.

    Args:
        breaker: thresholds of each provider's breaker.
        metrics: of the process.
        background: closes what a changed resource has replaced.
        tracing: of the process.
        max_response_bytes: larger answers are refused.
    """

    def __init__(
        self,
        breaker: BreakerSettings,
        metrics: Metrics,
        background: BackgroundTasks,
        tracing: Tracing,
        *,
        max_response_bytes: int,
    ) -> None:
        self._breaker = breaker
        self._metrics = metrics
        self._background = background
        self._tracing = tracing
        self._max_response_bytes = max_response_bytes
        self._open: dict[str, ProviderEndpoint] = {}

    async def complete(
        self, provider: Provider, model: Model, surface: Surface, body: JsonObject
    ) -> Answer:
        """See `ModelProvider.complete`."""
        adapter = await self._adapter(provider)
        return await adapter.complete(model, surface, body)

    async def stream(
        self, provider: Provider, model: Model, surface: Surface, body: JsonObject
    ) -> AsyncGenerator[list[Chunk], None]:
        """See `ModelProvider.stream`."""
        adapter = await self._adapter(provider)
        events = adapter.stream(model, surface, body)
        try:
            async for chunks in events:
                yield chunks
        finally:
            await events.aclose()

    async def close(self) -> None:
        """Closes every connection."""
        adapters, self._open = self._open, {}
        for adapter in adapters.values():
            await adapter.close()

    async def _adapter(self, provider: Provider) -> ProviderEndpoint:
        adapter = self._open.get(provider.name)
        if adapter is not None and adapter.provider == provider:
            return adapter
        dependency = await Dependency.create(
            f"provider-{provider.name}",
            self._breaker.model_copy(update={"max_concurrent": provider.spec.max_concurrent}),
            self._metrics,
        )
        replaced = self._open.get(provider.name)
        if replaced is not None and replaced.provider == provider:
            return replaced
        fresh = ProviderEndpoint(
            provider,
            DIALECTS[provider.spec.protocol],
            dependency,
            self._tracing,
            max_response_bytes=self._max_response_bytes,
        )
        self._open[provider.name] = fresh
        if replaced is not None:
            self._background.start(replaced.close_when_idle(), f"close-{provider.name}")
        return fresh
