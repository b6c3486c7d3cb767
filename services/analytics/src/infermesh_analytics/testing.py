"""What tests of the ledger share: both databases, events, the service over gRPC."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import grpc
import psycopg
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from infermesh.analytics.v1 import events_pb2, ledger_pb2, ledger_pb2_grpc
from infermesh.common.v1 import decision_pb2, money_pb2, page_pb2, usage_pb2
from infermesh_analytics.adapters.outbound.sql.engine import Database
from infermesh_analytics.bootstrap import bootstrap
from infermesh_analytics.settings import AnalyticsSettings, DatabaseSettings
from infermesh_common.errors import from_rpc_error
from infermesh_common.events import EVENT_FIELD, USAGE_STREAM
from infermesh_common.identity.directory import IdentityDirectory
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.testing.postgres import PostgresServer
from infermesh_common.testing.servers import RedisServer
from infermesh_common.testing.settings import settings_for

Fill = Callable[..., Awaitable[None]]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When events happen unless a test says otherwise."""
DATABASE_SETTINGS = DatabaseSettings(
    query_threads=2,
    query_timeout_ms=10_000,
    lock_timeout_ms=5_000,
    connect_timeout_ms=2_000,
    silence_timeout_ms=5_000,
)


@dataclass(frozen=True)
class LedgerDatabase:
    """A database of one test.

    Attributes:
        url: SQLAlchemy URL.
        server: its PostgreSQL server; None for SQLite.
    """

    url: str
    server: PostgresServer | None = None

    @classmethod
    def on_sqlite(cls, folder: Path) -> LedgerDatabase:
        """A SQLite file that does not exist yet."""
        return cls(f"sqlite:///{folder / 'ledger.db'}")

    @classmethod
    def on_postgresql(cls, server: PostgresServer) -> LedgerDatabase:
        """A fresh, empty database of `server`."""
        return cls(server.create_database(), server)

    def open(self) -> Database:
        """The adapters' way in; the caller closes it."""
        password = self.server.password if self.server else None
        return Database(self.url, password, DATABASE_SETTINGS)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Runs one statement beside the service and returns its rows."""
        if self.server:
            with self.server.connect(self.url.rpartition("/")[2]) as connection:
                cursor = connection.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []
        with closing(self._file()) as file:
            return file.execute(statement).fetchall()

    def is_prepared(self) -> bool:
        """Whether the schema is in place."""
        try:
            return bool(self.execute("SELECT * FROM ledger_schema_version"))
        except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
            return False

    def count_events(self) -> int:
        """Events in the ledger; 0 before there is one."""
        if not self.is_prepared():
            return 0
        ((count,),) = self.execute("SELECT count(*) FROM usage_events")
        assert isinstance(count, int)
        return count

    def refuse_model(self, model: str) -> None:
        """Makes the database refuse events of that model, by a rule of its own."""
        if self.server:
            self.execute(f"ALTER TABLE usage_events ADD CHECK (model <> '{model}')")
        else:
            self.execute(
                f"CREATE TRIGGER refuse BEFORE INSERT ON usage_events WHEN NEW.model = '{model}'"
                " BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Nothing can be written meanwhile: the server is stopped, or the file locked."""
        if self.server:
            self.server.stop()
            try:
                yield
            finally:
                self.server.start()
            return
        with closing(self._file()) as file:
            file.execute("BEGIN EXCLUSIVE")
            try:
                yield
            finally:
                file.execute("ROLLBACK")

    def _file(self) -> sqlite3.Connection:
        path = self.url.removeprefix("sqlite:///")
        return sqlite3.connect(path, timeout=10, isolation_level=None)


def make_event(
    *,
    event_id: str = "",
    tenant: str = "acme",
    model: str = "small",
    tags: tuple[str, ...] = (),
    cost: str | None = "0.002",
    baseline: str | None = "0.01",
    outcome: events_pb2.Outcome.ValueType = events_pb2.OUTCOME_SUCCEEDED,
    cache_status: decision_pb2.CacheStatus.ValueType = decision_pb2.CACHE_STATUS_MISS,
    when: datetime = NOON,
    usage: usage_pb2.TokenUsage | None = None,
) -> events_pb2.UsageEvent:
    """A valid event; keywords say what matters to the test."""
    event = events_pb2.UsageEvent(
        event_id=event_id or str(uuid.uuid4()),
        tenant=tenant,
        key_id="0123456789abcdef",
        requested_model="auto",
        protocol="openai.chat",
        task="general",
        tags=tags,
        outcome=outcome,
        duration_us=1500,
        first_byte_us=900,
        decision=decision_pb2.Decision(
            tier=decision_pb2.CACHE_TIER_NONE,
            cache_status=cache_status,
            model=model,
            provider="simulator",
            price_version="overlay-1",
            baseline_model="large",
            cost=_money(cost),
            baseline_cost=_money(baseline),
            usage=usage or usage_pb2.TokenUsage(input_tokens=10, output_tokens=5),
        ),
    )
    event.decision.decision_id = event.event_id
    event.request_time.FromDatetime(when)
    return event


def _money(amount: str | None) -> money_pb2.Money | None:
    return None if amount is None else money_pb2.Money(amount=amount, currency_code="USD")


def publish(redis: RedisServer, *events: events_pb2.UsageEvent | bytes) -> list[str]:
    """Appends events, or raw payloads, to the usage stream; returns the ids of the entries."""
    with redis.client() as client:
        pipeline = client.pipeline(transaction=False)
        for event in events:
            payload = event if isinstance(event, bytes) else event.SerializeToString()
            pipeline.xadd(USAGE_STREAM, {EVENT_FIELD: payload})
        return [entry_id.decode() for entry_id in pipeline.execute()]


def ledger_settings(
    folder: Path, database: LedgerDatabase, redis: RedisServer, **consumer: object
) -> AnalyticsSettings:
    """Settings with short intervals.

    Args:
        folder: gets the file of the settings, `analytics.yaml`.
        database: the ledger's.
        redis: the stream's.
        consumer: settings of that section that matter to the test.
    """
    quick = {
        "name": "ledger-a",
        "block_ms": 50,
        "tidy_interval_ms": 20,
        "claim_idle_ms": 60_000,
        "longest_retry_ms": 200,
    }
    return settings_for(
        AnalyticsSettings,
        "analytics",
        folder,
        redis,
        database_url=database.url,
        database_password_file=str(database.server.password_file) if database.server else None,
        database={"lock_timeout_ms": 100},
        consumer=quick | consumer,
    )


@dataclass(frozen=True)
class RunningLedger:
    """The service, running in this process."""

    server: GrpcServer
    stub: ledger_pb2_grpc.LedgerServiceAsyncStub
    health: health_pb2_grpc.HealthStub

    async def is_ready(self) -> bool:
        """What the readiness probe says."""
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service="readiness"))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def sample(self, name: str, **labels: str) -> float:
        """Value of a metric as a scrape sees it; 0 when it was never touched."""
        with urlopen(f"http://127.0.0.1:{self.server.metrics_port}/metrics", timeout=10) as page:
            for family in text_string_to_metric_families(page.read().decode()):
                for sample in family.samples:
                    if sample.name == name and sample.labels == labels:
                        return float(sample.value)
        return 0.0


@asynccontextmanager
async def run_ledger(
    settings: AnalyticsSettings, directory: IdentityDirectory
) -> AsyncIterator[RunningLedger]:
    """Runs the service for the time of an `async with` block."""
    async with bootstrap(settings, directory=directory) as server:
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                stub = ledger_pb2_grpc.LedgerServiceStub(channel)
                yield RunningLedger(server, stub, health_pb2_grpc.HealthStub(channel))
        finally:
            await server.stop()


def asking(
    *group_by: ledger_pb2.Dimension.ValueType,
    page_size: int = 0,
    page_token: str = "",
    where: ledger_pb2.UsageFilter | None = None,
) -> ledger_pb2.QueryUsageRequest:
    """A question; `where` restricts it."""
    return ledger_pb2.QueryUsageRequest(
        group_by=group_by,
        filter=where,
        page=page_pb2.PageRequest(page_size=page_size, page_token=page_token),
    )


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """(status code, reason) of a call that must be refused."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), from_rpc_error(error).reason
    raise AssertionError("the call was not refused")
