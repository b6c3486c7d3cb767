"""Composition root of the analytics service."""

import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis

from infermesh.analytics.v1.ledger_pb2_grpc import add_LedgerServiceServicer_to_server
from infermesh_analytics.adapters.inbound.events import decode_event
from infermesh_analytics.adapters.inbound.ledger_service import LedgerService
from infermesh_analytics.adapters.outbound.sql.engine import Database
from infermesh_analytics.adapters.outbound.sql.reader import SqlLedgerReader
from infermesh_analytics.adapters.outbound.sql.writer import SqlLedgerWriter
from infermesh_analytics.adapters.outbound.stream import ConsumerOptions, RedisUsageStream
from infermesh_analytics.application.queries import LedgerQueries
from infermesh_analytics.application.tracker import EventTracker
from infermesh_analytics.domain.paging import PageTokens
from infermesh_analytics.settings import AnalyticsSettings
from infermesh_common.identity.directory import IdentityDirectory
from infermesh_common.redis import create_redis
from infermesh_common.resilience import Dependency
from infermesh_common.rpc.kit import service_kit
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.settings import read_secret
from infermesh_common.telemetry.metrics import Metrics

NAME = "analytics"


@asynccontextmanager
async def bootstrap(
    settings: AnalyticsSettings, *, directory: IdentityDirectory | None = None
) -> AsyncIterator[GrpcServer]:
    """The service, wired. Consumption begins at once; the server is the caller's to start.

    Args:
        settings: of the service.
        directory: of a test, in place of the one that governance fills.
    """
    async with AsyncExitStack() as stack:
        # Before the kit, so that they outlive its tasks, which use them.
        redis = _redis(settings)
        stack.push_async_callback(redis.aclose)
        database = Database(settings.database_url, _password(settings), settings.database)
        stack.push_async_callback(database.close)
        kit = await stack.enter_async_context(service_kit(NAME, settings, directory))
        if directory is None:
            kit.follow_identities()
        writer = SqlLedgerWriter(database)
        guard = await Dependency.create("database", settings.breaker, kit.metrics)
        reader = SqlLedgerReader(database, guard, settings.database.query_timeout_ms)
        queries = LedgerQueries(reader, PageTokens(kit.internal_token))
        server = kit.server(
            service_names=["infermesh.analytics.v1.LedgerService"],
            checks={
                "database": writer.is_ready,
                "redis": lambda: _answers(redis),
                "identity": kit.identities_fresh,
            },
        )
        add_LedgerServiceServicer_to_server(LedgerService(queries), server.grpc)
        tracker = _tracker(settings, redis, writer, kit.metrics)
        kit.spawn(tracker.run(), "event-tracker")
        kit.spawn(tracker.keep_tidy(), "stream-tidying")
        yield server


def _tracker(
    settings: AnalyticsSettings, redis: Redis, writer: SqlLedgerWriter, metrics: Metrics
) -> EventTracker:
    consumer = settings.consumer
    options = ConsumerOptions(
        # One process a host and listen address, and after a restart it is the same again.
        name=consumer.name or f"{socket.gethostname()}/{settings.server.listen_address}",
        batch_events=consumer.batch_events,
        block_ms=consumer.block_ms,
        claim_idle_ms=consumer.claim_idle_ms,
        max_dead_events=consumer.max_dead_events,
    )
    return EventTracker(
        RedisUsageStream(redis, options),
        writer,
        decode_event,
        metrics,
        # Abandoned entries wait for at most one and a half times `claim_idle_ms`.
        claim_interval_s=consumer.claim_idle_ms / 2000,
        tidy_interval_s=consumer.tidy_interval_ms / 1000,
        linger_s=consumer.linger_ms / 1000,
        longest_retry_s=consumer.longest_retry_ms / 1000,
        now=time.monotonic,
    )


def _redis(settings: AnalyticsSettings) -> Redis:
    # Waiting for events is part of an operation here.
    timeout_ms = settings.redis.operation_timeout_ms + settings.consumer.block_ms
    return create_redis(settings.redis.model_copy(update={"operation_timeout_ms": timeout_ms}))


def _password(settings: AnalyticsSettings) -> str | None:
    file = settings.database_password_file
    return None if file is None else read_secret(file)


async def _answers(redis: Redis) -> bool:
    return bool(await redis.ping())
