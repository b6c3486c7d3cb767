"""The parts that every composition root builds in the same way."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from infermesh_common.background import end_tasks
from infermesh_common.identity.directory import IdentityDirectory
from infermesh_common.identity.model import Role
from infermesh_common.identity.watch import IdentityWatcher
from infermesh_common.rpc.certificates import Certificates
from infermesh_common.rpc.client import Channels
from infermesh_common.rpc.health import Check, Health
from infermesh_common.rpc.pipeline import ErrorTrailers, Guard, ServerPipeline
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.rpc.stages import AccessLog, IdentityGuard, RoleGuard, RpcMetrics
from infermesh_common.settings import CommonSettings, read_secret
from infermesh_common.telemetry.logs import configure_logs, without_text
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.tracing import Tracing

_log = structlog.get_logger(__name__)


@dataclass
class ServiceKit:
    """What a service is built on.

    Attributes:
        name: of the service, for example "cache".
        settings: its settings.
        metrics: of the process.
        tracing: of the process.
        channels: to other services.
        directory: who may call.
        internal_token: by which this service proves itself to others.
        certificates: of mutual TLS; None without it.
    """

    name: str
    settings: CommonSettings
    metrics: Metrics
    tracing: Tracing
    channels: Channels
    directory: IdentityDirectory
    internal_token: str
    certificates: Certificates | None
    _tasks: list[asyncio.Task[None]]

    def spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        """Runs `work` until the service ends; a failure is logged and counted as a defect."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._report_failure)
        self._tasks.append(task)

    def _report_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.metrics.counter("infermesh_background_failures_total").labels(
                task.get_name()
            ).inc()
            _log.error("background_task_failed", task=task.get_name(), error=without_text(error))

    def follow_identities(self) -> None:
        """Keeps the directory in step with the governance service."""
        watcher = IdentityWatcher(
            self.channels.to(self.settings.targets.governance),
            self.directory,
            internal_token=self.internal_token,
            watcher=self.name,
        )
        self.spawn(watcher.run(), "identity-watch")
        gauge = self.metrics.gauge("infermesh_identity_snapshot_age_seconds")
        gauge.set_function(self.directory.age_s)

    async def identities_fresh(self) -> bool:
        """Readiness check: callers can be verified."""
        return self.directory.is_fresh()

    def server(
        self,
        *,
        service_names: Sequence[str],
        checks: dict[str, Check],
        roles: dict[str, frozenset[Role]] | None = None,
        open_methods: frozenset[str] = frozenset(),
        error_trailers: ErrorTrailers | None = None,
        health: Health | None = None,
    ) -> GrpcServer:
        """The server with the standard pipeline; servicers are added to its `.grpc`.

        Args:
            service_names: full names, for reflection.
            checks: what must work for the service to be ready.
            roles: see `RoleGuard`.
            open_methods: methods that need no identity.
            error_trailers: see `ErrorTrailers`.
            health: when the caller needs it too; made from `checks` otherwise.
        """
        guards: list[Guard] = [IdentityGuard(self.directory, open_methods)]
        if roles:
            guards.append(RoleGuard(roles))
        pipeline = ServerPipeline(
            observers=[AccessLog(), RpcMetrics(self.name, self.metrics)],
            guards=guards,
            default_deadline_ms=self.settings.server.default_deadline_ms,
            error_trailers=error_trailers,
            max_concurrent=self.settings.server.max_concurrent_rpcs,
        )
        return GrpcServer(
            self.settings.server,
            pipeline=pipeline,
            health=health or Health(checks),
            metrics=self.metrics,
            tracing=self.tracing,
            service_names=service_names,
            certificates=self.certificates,
        )


@asynccontextmanager
async def service_kit(
    name: str, settings: CommonSettings, directory: IdentityDirectory | None = None
) -> AsyncIterator[ServiceKit]:
    """The kit of one service; ends its tasks and closes its channels on the way out.

    Args:
        name: of the service.
        settings: its settings.
        directory: of a test, in place of the one that governance fills.
    """
    telemetry = settings.telemetry
    configure_logs(name, telemetry.log_level, flush_interval_ms=telemetry.log_flush_interval_ms)
    token = read_secret(settings.identity.internal_token_file)
    metrics = Metrics()
    certificates = Certificates(settings.mtls, metrics) if settings.mtls else None
    tracing = Tracing(name, settings.telemetry)
    channels = Channels(
        max_message_bytes=settings.server.max_message_bytes,
        interceptors=tracing.client_interceptors(),
        credentials=certificates.channel_credentials() if certificates else None,
        longest_call_s=settings.server.max_connection_age_grace_ms / 1000,
    )
    max_age_s = settings.identity.max_snapshot_age_ms / 1000
    kit = ServiceKit(
        name=name,
        settings=settings,
        metrics=metrics,
        tracing=tracing,
        channels=channels,
        directory=directory or IdentityDirectory(internal_token=token, max_age_s=max_age_s),
        internal_token=token,
        certificates=certificates,
        _tasks=[],
    )
    if certificates is not None:
        kit.spawn(certificates.follow(channels.renew), "certificates")
    try:
        yield kit
    finally:
        await end_tasks(kit._tasks)
        await channels.close()
