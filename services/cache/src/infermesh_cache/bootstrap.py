"""Composition root of the cache service."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from infermesh.cache.v1 import cache_pb2_grpc, retrieval_pb2_grpc
from infermesh_cache.adapters.inbound import retrieval_servicer
from infermesh_cache.adapters.inbound.servicer import ROLES, SERVICE, CacheServicer
from infermesh_cache.adapters.outbound.change_log import RedisChangeLog
from infermesh_cache.adapters.outbound.codec import EntryCodec
from infermesh_cache.adapters.outbound.flight_announcements import FlightAnnouncements
from infermesh_cache.adapters.outbound.redis_entries import RedisEntryStore
from infermesh_cache.adapters.outbound.redis_learning import RedisLearning
from infermesh_cache.adapters.outbound.resource_policies import ResourcePolicies
from infermesh_cache.application.cache import Cache, LeaseMaker
from infermesh_cache.application.flights import Flights
from infermesh_cache.application.lazy_parts import Parts
from infermesh_cache.application.retrieval import Retrieval
from infermesh_cache.application.sweeper import Sweeper
from infermesh_cache.semantic_parts import parts_builder, retrieval_builder
from infermesh_cache.semantic_tier import semantic_tier
from infermesh_cache.settings import CacheSettings
from infermesh_common.identity.directory import IdentityDirectory
from infermesh_common.redis import create_redis
from infermesh_common.resilience import Dependency
from infermesh_common.resources.factory import resource_store
from infermesh_common.rpc.kit import service_kit
from infermesh_common.rpc.server import GrpcServer


@asynccontextmanager
async def bootstrap(
    settings: CacheSettings,
    *,
    directory: IdentityDirectory | None = None,
    parts: Callable[[], Awaitable[Parts]] | None = None,
) -> AsyncIterator[GrpcServer]:
    """The cache service, wired and not yet listening.

    Args:
        settings: of this process.
        directory: of a test, in place of the one that governance fills.
        parts: of a test, in place of the embedding and the index of the semantic tier.
    """
    redis = create_redis(settings.redis)
    codec = EntryCodec(
        compress_above_bytes=settings.codec.compress_above_bytes,
        offload_above_bytes=settings.codec.offload_above_bytes,
        threads=settings.codec.threads,
    )
    # Outside of the kit: what runs in the background ends before what it uses is closed.
    try:
        async with service_kit("cache", settings, directory) as kit:
            if directory is None:
                kit.follow_identities()
            resources = resource_store(settings, kit.metrics)
            resources.load()
            policies = ResourcePolicies(resources)
            guard = await Dependency.create("redis", settings.breaker, kit.metrics)
            entries = RedisEntryStore(
                redis,
                guard,
                codec,
                kit.metrics,
                timeout_ms=settings.redis.operation_timeout_ms,
                uses_interval_ms=settings.entries.uses_interval_ms,
                batch=settings.entries.batch,
            )
            timeout_ms = settings.redis.operation_timeout_ms
            new_lease = LeaseMaker(settings.flights.lease_ttl_ms)
            flights = Flights(entries, new_lease=new_lease, poll_ms=settings.flights.poll_ms)
            cache = Cache(
                entries=entries,
                codec=codec,
                policies=policies,
                flights=flights,
                new_lease=new_lease,
                changes=RedisChangeLog(redis, guard, timeout_ms=timeout_ms),
                copy_lease_ms=settings.copies.lease_ms,
                metrics=kit.metrics,
            )
            semantic = settings.semantic
            tier = semantic_tier(
                semantic,
                cache,
                policies,
                RedisLearning(
                    redis,
                    guard,
                    timeout_ms=timeout_ms,
                    lesson_ttl_s=semantic.lesson_ttl_s,
                    served_ttl_s=semantic.feedback_ttl_s,
                    complaints_per_hour=semantic.feedback_per_hour,
                ),
                parts
                or parts_builder(
                    semantic, settings.vectors, settings.breaker, policies, kit.metrics
                ),
                kit.metrics,
            )
            resources.subscribe(lambda _: tier.load_if_wanted(policies))
            retrieval = Retrieval(
                retrieval_builder(settings.retrieval, settings.breaker, kit.metrics),
                memory_bytes=settings.retrieval.memory_bytes,
            )
            sweeper = Sweeper(cache, policies, interval_ms=settings.entries.sweep_interval_ms)
            server = kit.server(
                service_names=[SERVICE, retrieval_servicer.SERVICE],
                checks={
                    "redis": entries.ping,
                    "identity": kit.identities_fresh,
                    "resources": resources.is_loaded,
                },
                roles=ROLES,
            )
            cache_pb2_grpc.add_CacheServiceServicer_to_server(
                CacheServicer(
                    cache,
                    tier.cache,
                    tier.explaining,
                    tier.learning,
                    copy_lease_ms=settings.copies.lease_ms,
                ),
                server.grpc,
            )
            retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(
                retrieval_servicer.RetrievalServicer(retrieval, settings.retrieval), server.grpc
            )
            kit.spawn(resources.watch(), "resources")
            kit.spawn(FlightAnnouncements(redis, flights).run(), "flight-announcements")
            kit.spawn(entries.run(), "uses")
            kit.spawn(sweeper.run(), "sweeper")
            kit.spawn(tier.run(), "semantic-tuners")
            try:
                yield server
            finally:
                await flights.close()
                await retrieval.close()
                await tier.close(settings.server.stop_grace_ms)
    finally:
        await redis.aclose()
        codec.close()
