"""Liveness and readiness over the standard gRPC health protocol.

"liveness": the event loop turns. "readiness" (and ""): every dependency that is needed answers;
with hysteresis, so that one failed check does not take a pod out of service. "accepting": not about
to stop. Channels of the mesh go by it (`rpc.client`): a replica whose dependency fails says so
itself, call by call, and better.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import grpc
import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

_log = structlog.get_logger(__name__)
_Context = grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]
Check = Callable[[], Awaitable[bool]]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ACCEPTING = "accepting"


class _Servicer:
    """The standard servicer, whose watch streams can be ended: a server that stops waits for every
    stream, and these never end by themselves."""

    def __init__(self) -> None:
        self._standard = health_aio.HealthServicer()
        self.Check = self._standard.Check
        self.List = self._standard.List
        self.set = self._standard.set
        self.closing = asyncio.Event()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:
        """Streams the status until the caller leaves or the server stops."""
        watching = asyncio.ensure_future(self._standard.Watch(request, context))
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({watching, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            closing.cancel()
            await asyncio.gather(watching, closing, return_exceptions=True)


class Health:
    """Health of one process.

    Args:
        checks: dependencies without which the service cannot do its work.
        failures_to_unready: consecutive failures that make the service not ready.
        interval_s: time between checks.
        timeout_s: a check that takes longer has failed.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        failures_to_unready: int = 3,
        interval_s: float = 1.0,
        timeout_s: float = 1.0,
    ) -> None:
        self.servicer = _Servicer()
        self._checks = dict(checks)
        self._failures_to_unready = failures_to_unready
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._failures = dict.fromkeys(checks, failures_to_unready)
        self._draining = False

    def dependencies(self) -> dict[str, bool]:
        """Whether each dependency is taken for healthy."""
        return {name: n < self._failures_to_unready for name, n in self._failures.items()}

    @property
    def ready(self) -> bool:
        """Whether the service is ready for calls."""
        return not self._draining and all(self.dependencies().values())

    async def start(self) -> None:
        """Reports alive, and not ready until the first checks have passed."""
        await self.servicer.set("liveness", SERVING)
        await self.servicer.set(ACCEPTING, NOT_SERVING if self._draining else SERVING)
        await self._report()

    async def run(self) -> None:
        """Checks until cancelled."""
        while True:
            await self.check_once()
            await asyncio.sleep(self._interval_s)

    async def check_once(self) -> None:
        """Runs every check once and reports."""
        for name, check in self._checks.items():
            if await self._passes(name, check):
                self._failures[name] = 0
            else:
                self._failures[name] += 1
        await self._report()

    async def drain(self) -> None:
        """Reports not ready from now on, and that no more calls should come."""
        self._draining = True
        await self.servicer.set(ACCEPTING, NOT_SERVING)
        await self._report()

    def end_watches(self) -> None:
        """Ends the streams of those who watch."""
        self.servicer.closing.set()

    async def _passes(self, name: str, check: Check) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await check()
        except Exception as error:  # a check may fail in any way of its library
            _log.info("health_check_failed", dependency=name, error=type(error).__name__)
            return False

    async def _report(self) -> None:
        for service in ("", "readiness"):
            # Asked anew each time: a drain may begin while watchers are being told.
            await self.servicer.set(service, SERVING if self.ready else NOT_SERVING)
