"""Composition root of the governance service."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from infermesh.governance.v1 import identity_pb2_grpc, keys_pb2_grpc, tenants_pb2_grpc
from infermesh_common.identity.model import Role
from infermesh_common.kubernetes.status import report_status
from infermesh_common.redis import create_redis
from infermesh_common.resilience import Dependency
from infermesh_common.resources.factory import resource_store
from infermesh_common.resources.resource_set import ResourceSet
from infermesh_common.rpc.health import Check, Health
from infermesh_common.rpc.kit import ServiceKit, service_kit
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.secrets.opening import open_secrets
from infermesh_common.telemetry.metrics import Metrics
from infermesh_governance.adapters.inbound.identity_updates import IdentityUpdates
from infermesh_governance.adapters.inbound.servicers import (
    IdentityServicer,
    KeyServicer,
    TenantServicer,
)
from infermesh_governance.adapters.outbound.declared_keys import DeclaredKeys
from infermesh_governance.adapters.outbound.redis_changes import RedisChangeFeed
from infermesh_governance.adapters.outbound.redis_keys import RedisKeyStore
from infermesh_governance.application.board import SnapshotBoard
from infermesh_governance.application.follower import KeyFollower
from infermesh_governance.application.key_manager import KeyManager
from infermesh_governance.application.resource_readiness import ResourceReadiness
from infermesh_governance.application.tenant_list import TenantList
from infermesh_governance.domain.keys import KeyRecord, KeyState
from infermesh_governance.domain.snapshot import Tenant
from infermesh_governance.settings import GovernanceSettings

_PACKAGE = "infermesh.governance.v1"
_MANAGERS = frozenset({Role.ADMIN, Role.OPERATOR})
_ROLES = {
    f"/{_PACKAGE}.KeyService/CreateKey": _MANAGERS,
    f"/{_PACKAGE}.KeyService/ListKeys": _MANAGERS,
    f"/{_PACKAGE}.KeyService/RevokeKey": _MANAGERS,
    f"/{_PACKAGE}.IdentityService/WatchIdentities": frozenset({Role.SERVICE}),
}


class _DrainingHealth(Health):
    """Ends the watch streams when the service drains: a stop would wait for them in vain."""

    def __init__(self, checks: Mapping[str, Check], on_drain: Callable[[], None]) -> None:
        super().__init__(checks)
        self._on_drain = on_drain

    async def drain(self) -> None:
        """Reports not ready from now on, and ends the streams."""
        await super().drain()
        self._on_drain()


@asynccontextmanager
async def bootstrap(settings: GovernanceSettings) -> AsyncIterator[GrpcServer]:
    """The service's server, ready to be started.

    It needs no Redis to start: it is alive at once and ready when the keys have been read.
    """
    redis = create_redis(settings.redis)
    try:
        # Ends before the client is closed: its tasks would open connections again.
        async with service_kit("governance", settings) as kit:
            yield await _assemble(kit, settings, redis)
    finally:
        await redis.aclose()


async def _assemble(kit: ServiceKit, settings: GovernanceSettings, redis: Redis) -> GrpcServer:
    # The poll is its own probe: a breaker that stays open for longer than a poll, or that calls of
    # clients can open, would make revocations late.
    poll_breaker = settings.breaker.model_copy(update={"open_ms": settings.poll_ms})
    requests = await Dependency.create("redis", settings.breaker, kit.metrics)
    polls = await Dependency.create("redis-poll", poll_breaker, kit.metrics)
    identities = _Identities(settings, _store(redis, polls, settings))
    follower, board = identities.follower, identities.board

    async def refresh() -> None:
        await requests.call(follower.refresh, timeout_ms=settings.store_timeout_ms, failures=())

    manager = KeyManager(_store(redis, requests, settings), refresh, board, now_us=_now_us)
    updates = IdentityUpdates(board)
    _declare(kit, settings, identities)
    _measure(kit.metrics, board)
    kit.metrics.gauge("infermesh_identity_snapshot_age_seconds").set_function(kit.directory.age_s)
    feed = RedisChangeFeed(redis, follower.poke, retry_s=settings.poll_ms / 1000)
    kit.spawn(updates.feed(kit.directory), "own-identities")
    kit.spawn(follower.run(), "key-follower")
    kit.spawn(feed.run(), "change-feed")

    checks: dict[str, Check] = {"identity": kit.identities_fresh}
    server = kit.server(
        service_names=[f"{_PACKAGE}.{name}Service" for name in ("Key", "Tenant", "Identity")],
        checks=checks,
        roles=_ROLES,
        health=_DrainingHealth(checks, board.close),
    )
    keys_pb2_grpc.add_KeyServiceServicer_to_server(KeyServicer(manager), server.grpc)
    tenants_pb2_grpc.add_TenantServiceServicer_to_server(
        TenantServicer(TenantList(board)), server.grpc
    )
    identity_pb2_grpc.add_IdentityServiceServicer_to_server(
        IdentityServicer(updates, kit.metrics), server.grpc
    )
    return server


class _Identities:
    """Issued keys on their way from the store to the board.

    They are kept back until it is known what is declared: without tenants and declared keys the
    first snapshot would make every service refuse callers that it knew to be good.
    """

    def __init__(self, settings: GovernanceSettings, store: RedisKeyStore) -> None:
        self._issued: Mapping[str, KeyRecord] | None = None
        self._kept_back = True
        self.follower = KeyFollower(
            store,
            self._put,
            poll_s=settings.poll_ms / 1000,
            forget_after_us=settings.forget_after_s * 1_000_000,
            now_us=_now_us,
        )
        self.board = SnapshotBoard(
            staleness_s=self.follower.staleness_s,
            heartbeat_s=settings.heartbeat_ms / 1000,
            now_us=_now_us,
        )

    def let_through(self) -> None:
        """What is declared is on the board."""
        self._kept_back = False
        if self._issued is not None:
            self.board.put_issued(self._issued)

    def _put(self, keys: Mapping[str, KeyRecord]) -> None:
        self._issued = keys
        if not self._kept_back:
            self.board.put_issued(keys)


def _declare(kit: ServiceKit, settings: GovernanceSettings, identities: _Identities) -> None:
    """Puts resources and declared keys on the board and keeps them up to date."""
    board = identities.board
    secrets = open_secrets(settings.secrets, kit.metrics)
    declared = DeclaredKeys(
        settings.bootstrap_operator_key_file,
        secrets,
        board.put_declared,
        kit.metrics,
        poll_s=settings.secret_poll_ms / 1000,
    )

    def take_over(resources: ResourceSet) -> None:
        board.put_tenants(
            {
                name: Tenant(name, tenant.spec.display_name, tenant.spec.suspended)
                for name, tenant in resources.tenants.items()
            }
        )
        declared.declare(resources.api_keys.values())

    resources = resource_store(settings, kit.metrics)
    resources.load()
    resources.subscribe(take_over)

    async def read_keys() -> None:
        await resources.wait_until_loaded()
        await declared.read_once()
        identities.let_through()
        await declared.run()

    kit.spawn(resources.watch(), "resources")
    kit.spawn(secrets.run(), "secrets")
    kit.spawn(read_keys(), "declared-keys")
    readiness = ResourceReadiness(secrets.fault, lambda: declared.faults)
    reports = report_status(resources, readiness.kinds(), kit.metrics, service=kit.name)
    kit.spawn(reports, "resource-status")


def _measure(metrics: Metrics, board: SnapshotBoard) -> None:
    """Counts keys when the metrics are read: a key expires without anything happening."""

    def counter(state: KeyState) -> Callable[[], float]:
        return lambda: board.snapshot.count(state, _now_us()) if board.snapshot else 0

    gauge = metrics.gauge("infermesh_keys")
    for state in KeyState:
        gauge.labels(state.value).set_function(counter(state))


def _store(redis: Redis, dependency: Dependency, settings: GovernanceSettings) -> RedisKeyStore:
    return RedisKeyStore(
        redis,
        dependency,
        timeout_ms=settings.store_timeout_ms,
        request_memory_ms=settings.request_memory_s * 1000,
    )


def _now_us() -> int:
    return time.time_ns() // 1000
