"""The composition root of the router."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infermesh.router.v1 import (
    anthropic_pb2_grpc,
    inference_pb2_grpc,
    openai_pb2_grpc,
    operations_pb2_grpc,
)
from infermesh_common.background import BackgroundTasks
from infermesh_common.events import UsageEventPublisher
from infermesh_common.identity.directory import IdentityDirectory
from infermesh_common.identity.model import Role
from infermesh_common.kubernetes.status import report_status
from infermesh_common.redis import create_redis
from infermesh_common.resilience import Dependency
from infermesh_common.resources.factory import resource_store
from infermesh_common.resources.in_force import ResourcesInForce
from infermesh_common.resources.resource_set import ResourceSet
from infermesh_common.rpc.health import Health
from infermesh_common.rpc.kit import ServiceKit, service_kit
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.secrets.facade import Secrets
from infermesh_common.secrets.opening import open_secrets
from infermesh_router.adapters.inbound.anthropic_servicer import AnthropicServicer
from infermesh_router.adapters.inbound.error_bodies import error_trailers
from infermesh_router.adapters.inbound.http_bodies import HttpBodies
from infermesh_router.adapters.inbound.inference_servicer import InferenceServicer
from infermesh_router.adapters.inbound.openai_servicer import OpenAIServicer
from infermesh_router.adapters.inbound.operations_servicer import OperationsServicer
from infermesh_router.adapters.outbound.cache_client import GrpcExactCache
from infermesh_router.adapters.outbound.cache_exchange import CacheExchange
from infermesh_router.adapters.outbound.entry_changes import GrpcEntryChangeFeed
from infermesh_router.adapters.outbound.providers.keys import keys_in_use
from infermesh_router.adapters.outbound.providers.pool import ProviderPool
from infermesh_router.adapters.outbound.usage_sink import EventUsageSink
from infermesh_router.application.cache_stage import CacheStage
from infermesh_router.application.inference_optimizer import InferenceOptimizer
from infermesh_router.application.model_stage import ModelStage, RetryRules
from infermesh_router.application.near_cache import Copies, NearCache
from infermesh_router.application.near_cache_lease import NearCacheLease
from infermesh_router.application.resource_readiness import ResourceReadiness
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.resilience.key_ring import RestRules
from infermesh_router.settings import RouterSettings

_PACKAGE = "infermesh.router.v1"
_SERVICES = tuple(
    f"{_PACKAGE}.{name}"
    for name in ("AnthropicService", "InferenceService", "OpenAIService", "OperationsService")
)
_HEALTH = f"/{_PACKAGE}.OperationsService/GetHealth"
_METRICS = f"/{_PACKAGE}.OperationsService/GetMetrics"


class CurrentRegistry:
    """The registry of the resources in force; replaced whole when they change."""

    def __init__(self, resources: ResourcesInForce) -> None:
        self._resources = resources
        self._registry = ModelRegistry(ResourceSet())
        resources.subscribe(self._update)

    def __call__(self) -> ModelRegistry:
        return self._registry

    def _update(self, resources: ResourceSet) -> None:
        self._registry = ModelRegistry(resources)

    async def is_loaded(self) -> bool:
        """Readiness check: there is something to route to, or nothing is declared at all.

        Models of which none is valid hold up a roll-out; none at all does not hold up a first one.
        """
        nothing_refused = not self._resources.current.faults
        return self._resources.loaded and (bool(self._registry.models) or nothing_refused)


@asynccontextmanager
async def bootstrap(
    settings: RouterSettings, *, directory: IdentityDirectory | None = None
) -> AsyncIterator[GrpcServer]:
    """Builds the router; ends what it started on the way out.

    Args:
        settings: everything it needs to know.
        directory: of a test, in place of the one that governance fills.
    """
    redis = create_redis(settings.redis)
    try:
        async with service_kit("router", settings, directory) as kit:
            if directory is None:
                kit.follow_identities()
            resources = resource_store(settings, kit.metrics)
            resources.load()
            registry = CurrentRegistry(resources)
            secrets = open_secrets(settings.secrets, kit.metrics)
            resources.subscribe(lambda in_force: secrets.follow(keys_in_use(in_force)))
            kit.spawn(secrets.run(), "secrets")
            kit.spawn(resources.watch(), "resources-watch")

            publisher = UsageEventPublisher(
                redis,
                kit.metrics,
                max_queued=settings.events.max_queued,
                max_stream_events=settings.events.max_stream,
                linger_ms=settings.events.linger_ms,
            )
            kit.spawn(publisher.run(), "usage-events")
            background = BackgroundTasks()
            resilience = settings.resilience
            providers = ProviderPool(
                settings.breaker,
                RestRules(
                    first_s=resilience.cooldown_ms / 1000,
                    refused_s=resilience.refused_cooldown_ms / 1000,
                    longest_s=resilience.longest_cooldown_ms / 1000,
                ),
                kit.metrics,
                background,
                kit.tracing,
                secrets,
                max_response_bytes=settings.limits.max_response_bytes,
            )
            readiness = ResourceReadiness(registry, secrets.fault, providers.standing)
            reports = report_status(resources, readiness.kinds(), kit.metrics, service=kit.name)
            kit.spawn(reports, "resource-status")
            cache = await Dependency.create("cache", settings.breaker, kit.metrics)
            near = settings.near_cache
            copies = Copies(max_bytes=near.max_bytes, max_age_s=near.max_age_ms / 1000)
            feed = GrpcEntryChangeFeed(
                kit.channels.to(settings.targets.cache),
                internal_token=kit.internal_token,
                timeout_ms=near.poll_timeout_ms,
            )
            kit.spawn(NearCacheLease(feed, copies).run(), "near-cache-lease")
            exchange = CacheExchange(
                kit.channels.to(settings.targets.cache),
                internal_token=kit.internal_token,
                streams=settings.cache.streams,
                renew_after_s=settings.cache.stream_age_ms / 1000,
            )
            exact = GrpcExactCache(exchange, cache, settings.cache)
            optimizer = InferenceOptimizer(
                registry,
                CacheStage(
                    NearCache(exact, copies, kit.metrics),
                    background,
                    flight_poll_ms=settings.cache.flight_poll_ms,
                ),
                ModelStage(
                    providers,
                    kit.metrics,
                    RetryRules(resilience.retry_share, resilience.retries_per_second),
                ),
                EventUsageSink(
                    publisher,
                    kit.metrics,
                    written_within_s=settings.events.written_within_ms / 1000,
                ),
            )
            try:
                yield _server(kit, settings, optimizer, registry, secrets, cache)
            finally:
                await background.drain(settings.server.stop_grace_ms / 1000)
                await publisher.flush(settings.events.flush_timeout_ms / 1000)
                await providers.close()
                await exchange.close()
    finally:
        # After the kit's tasks, which use it.
        await redis.aclose()


def _server(
    kit: ServiceKit,
    settings: RouterSettings,
    optimizer: InferenceOptimizer,
    registry: CurrentRegistry,
    secrets: Secrets,
    cache: Dependency,
) -> GrpcServer:
    health = Health(
        {
            "identity": kit.identities_fresh,
            "resources": registry.is_loaded,
            "secrets": secrets.looked_at,
        }
    )
    server = kit.server(
        service_names=_SERVICES,
        checks={},
        health=health,
        roles={_METRICS: frozenset({Role.OPERATOR, Role.SERVICE})},
        open_methods=frozenset({_HEALTH}),
        error_trailers=error_trailers,
    )
    bodies = HttpBodies(optimizer, max_request_bytes=settings.limits.max_request_bytes)
    openai = OpenAIServicer(bodies, registry)
    helpers = {"cache": lambda: not cache.is_open}
    operations = OperationsServicer(health, helpers, kit.metrics, registry)
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(
        InferenceServicer(optimizer), server.grpc
    )
    anthropic_pb2_grpc.add_AnthropicServiceServicer_to_server(
        AnthropicServicer(bodies), server.grpc
    )
    openai_pb2_grpc.add_OpenAIServiceServicer_to_server(openai, server.grpc)
    operations_pb2_grpc.add_OperationsServiceServicer_to_server(operations, server.grpc)
    return server
