"""A gRPC server with the mesh's pipeline, health, metrics and graceful stop."""

import asyncio
import gc
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import grpc
import structlog
import uvloop
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from infermesh_common.background import end_tasks
from infermesh_common.rpc.certificates import Certificates
from infermesh_common.rpc.health import Health
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.settings import ServerSettings
from infermesh_common.telemetry.metrics import Metrics, MetricsEndpoint
from infermesh_common.telemetry.tracing import Tracing

_log = structlog.get_logger(__name__)
_HANDOVER_S = 0.1
# Of the time that calls under way have to finish, for telling those that will not.
_LAST_WORDS_S = 1.0


class GrpcServer:
    """One service's server.

    Args:
        settings: where and how to listen.
        pipeline: what happens around every RPC.
        health: what it reports.
        metrics: what it exposes on its metrics port.
        tracing: traces of the process.
        service_names: full names for reflection.
        certificates: for mutual TLS; None: clients connect in clear.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        pipeline: ServerPipeline,
        health: Health,
        metrics: Metrics,
        tracing: Tracing,
        service_names: Sequence[str],
        certificates: Certificates | None = None,
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._health = health
        self._metrics = metrics
        self._tracing = tracing
        self._certificates = certificates
        self._tasks: list[asyncio.Task[None]] = []
        self._endpoint: MetricsEndpoint | None = None
        self._probes: grpc.aio.Server | None = None
        self.port = 0
        self.health_port = 0
        self.grpc = grpc.aio.server(
            interceptors=[*tracing.server_interceptors(), pipeline],
            # The bound itself is the pipeline's, which lets health through. This is a last resort.
            maximum_concurrent_rpcs=2 * settings.max_concurrent_rpcs,
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.max_connection_age_ms", settings.max_connection_age_ms),
                ("grpc.max_connection_age_grace_ms", settings.max_connection_age_grace_ms),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.max_ping_strikes", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(health.servicer, self.grpc)
        if settings.reflection:
            names = [*service_names, "grpc.health.v1.Health", reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self.grpc)

    @property
    def metrics_port(self) -> int:
        """Port of the metrics endpoint; 0 before `start`."""
        return self._endpoint.port if self._endpoint else 0

    async def start(self) -> None:
        """Listens, and reports ready as soon as the checks pass.

        Raises:
            RuntimeError: the address cannot be bound.
        """
        address = self._settings.listen_address
        if self._certificates is None:
            self.port = self.grpc.add_insecure_port(address)
        else:
            credentials = self._certificates.server_credentials()
            self.port = self.grpc.add_secure_port(address, credentials)
        self._endpoint = MetricsEndpoint(self._metrics, self._settings.metrics_address)
        await self._health.start()
        if self._settings.health_address is not None:
            await self._listen_for_probes(self._settings.health_address)
        await self.grpc.start()
        self._tasks.append(asyncio.create_task(self._health.run(), name="health"))
        _log.info("listening", address=self._settings.listen_address, port=self.port)

    async def stop(self) -> None:
        """NOT_SERVING, a moment for balancers to notice, then calls under way finish.

        gRPC ends calls that it has received and not yet handed to us as CANCELLED when it stops
        (grpc/grpc issue 41785), which nobody retries. So there are none by then: for a moment they
        are refused as UNAVAILABLE, as fast as they come.
        """
        await self._health.drain()
        await asyncio.sleep(self._settings.drain_ms / 1000)
        self._pipeline.close()
        if self._pipeline.busy:
            await asyncio.sleep(_HANDOVER_S)
        self._health.end_watches()
        await self._finish(self._settings.stop_grace_ms / 1000)
        await end_tasks(self._tasks)
        if self._probes is not None:
            await self._probes.stop(None)
        if self._endpoint is not None:
            await asyncio.to_thread(self._endpoint.close)
        await asyncio.to_thread(self._tracing.close)

    async def _listen_for_probes(self, address: str) -> None:
        """Health alone, in clear: what probes has no certificate of the mesh."""
        self._probes = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._probes)
        self.health_port = self._probes.add_insecure_port(address)
        await self._probes.start()

    async def _finish(self, grace_s: float) -> None:
        """Lets calls under way finish. gRPC cancels what is left in the end, which a client of the
        transcoder could take for the end of an answer: so it is ended with an error before."""
        stopping = asyncio.ensure_future(self.grpc.stop(grace_s))
        last_words_s = min(_LAST_WORDS_S, grace_s / 2)
        await asyncio.wait({stopping}, timeout=grace_s - last_words_s)
        if not stopping.done():
            self._pipeline.interrupt()
        await stopping


async def serve(server: GrpcServer) -> None:
    """Starts `server`, waits for SIGTERM or SIGINT, and stops it gracefully."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    await stop.wait()
    _log.info("stopping")
    await server.stop()


def run(application: Callable[[], AbstractAsyncContextManager[GrpcServer]]) -> None:
    """Runs a service until it is told to stop: the whole of a `__main__`.

    Args:
        application: the composition root, an async context manager around the server.
    """

    async def main() -> None:
        async with application() as server:
            _spare_the_collector()
            await serve(server)

    uvloop.run(main())


def _spare_the_collector() -> None:
    """What is there once a service is built stays till its end: the collector need not walk through
    it again and again. What requests make is freed by reference counts but for rare cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
