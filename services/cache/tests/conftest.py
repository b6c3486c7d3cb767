"""The cache service over real gRPC on a real Redis, and its callers."""

from __future__ import annotations

import asyncio
import hashlib
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
import yaml
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client.parser import text_string_to_metric_families

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh.common.v1 import usage_pb2
from infermesh_cache.adapters.outbound.change_log import RedisChangeLog
from infermesh_cache.adapters.outbound.codec import EntryCodec
from infermesh_cache.adapters.outbound.redis_entries import RedisEntryStore
from infermesh_cache.bootstrap import bootstrap
from infermesh_cache.domain.keys import Slot
from infermesh_cache.settings import CacheSettings
from infermesh_cache.testing import FakeParts
from infermesh_common.identity.model import Role
from infermesh_common.redis import create_redis
from infermesh_common.resilience import Dependency
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.resources import Document, resource
from infermesh_common.testing.servers import RedisServer
from infermesh_common.testing.settings import settings_for

DEADLINE_S = 60.0
# Patient: what most tests are about is not how fast this machine is today.
PATIENT_MS = 10_000
_SEMANTIC = {"lookup_timeout_ms": PATIENT_MS, "share_interval_ms": 50, "load_retry_ms": 1}


def fingerprint_of(question: str | bytes) -> bytes:
    """Fingerprint of a question; bytes stand for themselves."""
    if isinstance(question, bytes):
        return question
    return hashlib.sha256(question.encode()).digest()


class Caller:
    """Calls one replica with one API key."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self.stub = cache_pb2_grpc.CacheServiceStub(channel)
        self.metadata = metadata

    async def lookup(
        self,
        question: str | bytes,
        *,
        max_age_s: float | None = None,
        single_flight: bool = False,
        wait_s: float = 0,
        deadline_s: float = DEADLINE_S,
    ) -> cache_pb2.LookupResponse:
        request = cache_pb2.LookupRequest(
            fingerprint=fingerprint_of(question), single_flight=single_flight
        )
        if max_age_s is not None:
            request.max_age.FromMicroseconds(int(max_age_s * 1e6))
        if wait_s:
            request.wait.FromMicroseconds(int(wait_s * 1e6))
        return await self.stub.Lookup(request, metadata=self.metadata, timeout=deadline_s)

    async def body_of(self, question: str | bytes) -> bytes | None:
        """Body of the entry; None without one."""
        response = await self.lookup(question)
        return response.hit.body if response.HasField("hit") else None

    async def lead(self, question: str | bytes) -> str:
        """Token of the lease of a question nobody has asked."""
        response = await self.lookup(question, single_flight=True)
        assert response.WhichOneof("outcome") == "lease", response
        return response.lease.token

    async def store(
        self,
        question: str | bytes,
        body: bytes = b"42",
        *,
        token: str = "",
        model: str = "small",
        provider: str = "main",
        tags: tuple[str, ...] = (),
        ttl_s: float = 60,
        usage: usage_pb2.TokenUsage | None = None,
    ) -> cache_pb2.StoreResponse:
        request = cache_pb2.StoreRequest(
            fingerprint=fingerprint_of(question),
            lease_token=token,
            entry=cache_pb2.Entry(
                body=body, model=model, provider=provider, tags=tags, usage=usage
            ),
        )
        request.ttl.FromMicroseconds(int(ttl_s * 1e6))
        return await self.stub.Store(request, metadata=self.metadata, timeout=DEADLINE_S)

    async def renew(self, question: str | bytes, token: str) -> bool:
        request = cache_pb2.RenewLeaseRequest(
            fingerprint=fingerprint_of(question), lease_token=token
        )
        response = await self.stub.RenewLease(request, metadata=self.metadata, timeout=DEADLINE_S)
        return response.held

    async def release(self, question: str | bytes, token: str) -> None:
        request = cache_pb2.ReleaseLeaseRequest(
            fingerprint=fingerprint_of(question), lease_token=token
        )
        await self.stub.ReleaseLease(request, metadata=self.metadata, timeout=DEADLINE_S)

    async def invalidate(
        self, scope: str = "all", value: str = "", *, dry_run: bool = False
    ) -> int:
        """`scope` is a selector of the contract; for a fingerprint, `value` is the question."""
        request = cache_pb2.InvalidateRequest(dry_run=dry_run)
        if scope == "all":
            request.all = True
        elif scope == "fingerprint":
            request.fingerprint = fingerprint_of(value).hex()
        elif scope == "model":
            request.model = value
        else:
            assert scope == "tag"
            request.tag = value
        response = await self.stub.Invalidate(request, metadata=self.metadata, timeout=DEADLINE_S)
        return response.count

    async def stats(self) -> cache_pb2.GetStatsResponse:
        return await self.stub.GetStats(
            cache_pb2.GetStatsRequest(), metadata=self.metadata, timeout=DEADLINE_S
        )


class Replica:
    """One running cache service."""

    def __init__(self, server: GrpcServer, governance: FakeGovernance) -> None:
        self.server = server
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        self._governance = governance

    def caller(self, tenant: str = "acme", role: Role = Role.ADMIN) -> Caller:
        return Caller(self.channel, bearer(self._governance.issue(tenant, role)))

    async def metric(self, name: str, **labels: str) -> float:
        """Value of a sample as a scraper sees it; 0 when it is not there."""
        url = f"http://127.0.0.1:{self.server.metrics_port}/metrics"

        def scrape() -> str:
            with urllib.request.urlopen(url, timeout=20) as response:
                return bytes(response.read()).decode()

        for family in text_string_to_metric_families(await asyncio.to_thread(scrape)):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return 0.0

    async def in_flight(self) -> int:
        """RPCs being served."""
        return int(await self.metric("infermesh_rpc_in_flight", service="cache"))


class Mesh:
    """Replicas on one Redis, with the tenants that the test declares."""

    def __init__(self, folder: Path, governance: FakeGovernance, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.governance = governance
        self._stack = stack
        self.parts = FakeParts()
        # Every tenant names one.
        self._documents: dict[str, Document] = {"routes": resource("RoutePolicy", "default")}
        (folder / "resources").mkdir()
        self.declare("acme")
        self.declare("globex")

    def declare(self, tenant: str, **policy: object) -> None:
        """Declares a tenant with a policy of its own; also changes the policy of one."""
        self._documents[f"{tenant}/policy"] = resource("CachePolicy", tenant, **policy)
        self._documents[f"{tenant}/tenant"] = resource("Tenant", tenant, cachePolicy=tenant)
        self._write()

    def withdraw(self, tenant: str) -> None:
        """Takes a declaration back."""
        for kind in ("policy", "tenant"):
            del self._documents[f"{tenant}/{kind}"]
        self._write()

    def _write(self) -> None:
        path = self.folder / "resources" / "all.yaml"
        # Renamed into place: a reader never sees half of it.
        path.with_suffix(".new").write_text(yaml.safe_dump_all(list(self._documents.values())))
        path.with_suffix(".new").rename(path)

    def settings(
        self, redis: RedisServer, *, timeout_ms: int = PATIENT_MS, **values: object
    ) -> CacheSettings:
        """Settings of a replica.

        Args:
            redis: the Redis it uses.
            timeout_ms: of an operation on it.
            values: further values of the service's section.
        """
        # Nobody keeps copies here, and an invalidation waits for those who may.
        values = {"copies": {"lease_ms": 1}, "semantic": _SEMANTIC, **values}
        settings = settings_for(CacheSettings, "cache", self.folder, redis, targets={}, **values)
        impatient = settings.redis.model_copy(update={"operation_timeout_ms": timeout_ms})
        return settings.model_copy(update={"redis": impatient})

    async def start(
        self, redis: RedisServer, *, timeout_ms: int = PATIENT_MS, **values: object
    ) -> Replica:
        """A running replica; arguments as of `settings`."""
        running = self.running(redis, timeout_ms=timeout_ms, **values)
        return await self._stack.enter_async_context(running)

    @asynccontextmanager
    async def running(
        self, redis: RedisServer, *, timeout_ms: int = PATIENT_MS, **values: object
    ) -> AsyncIterator[Replica]:
        """As `start`, for a block."""
        settings = self.settings(redis, timeout_ms=timeout_ms, **values)
        async with bootstrap(
            settings, directory=self.governance.directory, parts=self.parts
        ) as server:
            await server.start()
            replica = Replica(server, self.governance)
            try:
                yield replica
            finally:
                await replica.channel.close()
                await server.stop()


@pytest.fixture
async def mesh(tmp_path: Path, governance: FakeGovernance) -> AsyncIterator[Mesh]:
    """See `Mesh`."""
    async with AsyncExitStack() as stack:
        yield Mesh(tmp_path, governance, stack)


@pytest.fixture
async def replica(mesh: Mesh, redis_server: RedisServer) -> Replica:
    """A replica on the shared Redis."""
    return await mesh.start(redis_server)


@pytest.fixture
def codec() -> Iterator[EntryCodec]:
    """A codec that compresses and offloads early."""
    codec = EntryCodec(compress_above_bytes=100, offload_above_bytes=1000, threads=1)
    yield codec
    codec.close()


@pytest.fixture
async def entries(
    redis_server: RedisServer, metrics: Metrics, codec: EntryCodec
) -> AsyncIterator[RedisEntryStore]:
    """Entries on the shared Redis, without a service around them."""
    redis = create_redis(redis_server.settings(operation_timeout_ms=10_000))
    breaker = BreakerSettings(failure_threshold=5, open_ms=1000, max_concurrent=64)
    yield RedisEntryStore(
        redis,
        await Dependency.create("redis", breaker, metrics),
        codec,
        metrics,
        timeout_ms=10_000,
        uses_interval_ms=1000,
        batch=100,
    )
    await redis.aclose()


@pytest.fixture
async def change_log(redis_server: RedisServer, metrics: Metrics) -> AsyncIterator[RedisChangeLog]:
    """The log of changes on the shared Redis."""
    redis = create_redis(redis_server.settings(operation_timeout_ms=10_000))
    breaker = BreakerSettings(failure_threshold=5, open_ms=1000, max_concurrent=64)
    guard = await Dependency.create("redis", breaker, metrics)
    yield RedisChangeLog(redis, guard, timeout_ms=10_000)
    await redis.aclose()


@pytest.fixture
def reason_of() -> Callable[[grpc.aio.AioRpcError], str]:
    """Reads the reason of an error, and the field at fault after a slash if there is one."""

    def read(error: grpc.aio.AioRpcError) -> str:
        status = rpc_status.from_call(error)
        assert status is not None, error
        reason, field = "", ""
        for detail in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(bad):
                field = f"/{bad.field_violations[0].field}"
        return reason + field

    return read


@pytest.fixture
def slot_of() -> Callable[..., Slot]:
    """Where the answer to a question is kept."""

    def slot(question: str | bytes, tenant: str = "acme", epoch: int = 0) -> Slot:
        return Slot(tenant, epoch, fingerprint_of(question))

    return slot
