"""Breaker, bulkhead and time-out around a dependency, in one place.

The breaker is purgatory's, the bulkhead anyio's. Retries are not here: a call is retried at one
layer only, the gRPC channel (`rpc.client`), on UNAVAILABLE and within its retry budget.

purgatory takes whatever it is told to exclude for a success: a cancelled probe would close an open
breaker, and callers that give up would reset the count of failures of a dependency that hangs. So
it is told of successes and failures only, and of nothing that is evidence for neither. It also
lets every call through when it is half open; here one probes and the others are refused.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from anyio import CapacityLimiter, WouldBlock
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from purgatory.service._async.circuitbreaker import AsyncCircuitBreaker

from infermesh_common.context import time_budget_s
from infermesh_common.errors import DeadlineExceeded, InfermeshError, Unavailable
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics

T = TypeVar("T")
_STATES = {"closed": 0, "half-opened": 1, "opened": 2}


def _is_callers_fault(error: InfermeshError) -> bool:
    """Whether the dependency did its work and it was the request that failed."""
    return not isinstance(error, (Unavailable, DeadlineExceeded))


# A call that its caller's deadline cut short says little about the dependency: a tenant with tiny
# deadlines must not open the breaker for all the others.
_LEAST_SHARE_OF_TIMEOUT = 0.5


class Dependency:
    """Guards every call of one dependency. Make it with `Dependency.create`."""

    def __init__(
        self,
        name: str,
        breaker: AsyncCircuitBreaker,
        limiter: CapacityLimiter,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self._breaker = breaker
        self._limiter = limiter
        self._failures = metrics.counter("infermesh_dependency_failures_total")
        self._state = metrics.gauge("infermesh_breaker_state").labels(name)
        self._reason_prefix = name.upper().replace("-", "_")
        self._probing = False

    @classmethod
    async def create(cls, name: str, settings: BreakerSettings, metrics: Metrics) -> "Dependency":
        """A guard of its own breaker and bulkhead.

        Args:
            name: for metrics and for the reason of errors, for example "redis".
            settings: thresholds.
            metrics: where states and failures are counted.
        """
        factory = AsyncCircuitBreakerFactory(
            default_threshold=settings.failure_threshold,
            default_ttl=settings.open_ms / 1000,
        )
        breaker = await factory.get_breaker(name)
        return cls(name, breaker, CapacityLimiter(settings.max_concurrent), metrics)

    @property
    def is_open(self) -> bool:
        """Whether calls are refused at the moment."""
        return self._breaker.context.state == "opened"

    async def call(
        self,
        operation: Callable[[], Awaitable[T]],
        *,
        timeout_ms: int,
        failures: tuple[type[Exception], ...],
    ) -> T:
        """Awaits `operation()` within the time-out and the caller's deadline.

        Args:
            operation: makes the awaitable; not called when the breaker is open.
            timeout_ms: longest time in milliseconds.
            failures: exceptions of the library that mean the dependency failed.

        Raises:
            Unavailable: <NAME>_CIRCUIT_OPEN, <NAME>_OVERLOADED or <NAME>_UNAVAILABLE.
            DeadlineExceeded: <NAME>_TIMEOUT.
        """
        budget_s = time_budget_s(timeout_ms)
        borrower = object()
        try:
            self._limiter.acquire_on_behalf_of_nowait(borrower)
        except WouldBlock as error:
            raise self._unavailable("OVERLOADED", "has too many calls under way") from error
        try:
            probes = await self._enter()
            try:
                return await self._observed(operation, timeout_ms, budget_s, failures)
            finally:
                if probes:
                    self._probing = False
        finally:
            self._limiter.release_on_behalf_of(borrower)
            self._state.set(_STATES[self._breaker.context.state])

    async def _enter(self) -> bool:
        """Passes the breaker; whether this call probes a dependency that has failed."""
        if not self._probing:
            try:
                await self._breaker.__aenter__()
            except OpenedState as opened:
                # One object for as long as the breaker is open: its traceback would keep the
                # frames, and with them the requests, of every call that was refused.
                opened.__traceback__ = opened.__context__ = None
            else:
                self._probing = self._breaker.context.state == "half-opened"
                return self._probing
        raise self._unavailable("CIRCUIT_OPEN", "is being left alone after failures")

    async def _observed(
        self,
        operation: Callable[[], Awaitable[T]],
        timeout_ms: int,
        budget_s: float,
        failures: tuple[type[Exception], ...],
    ) -> T:
        """The result of `operation()`; tells the breaker how it went."""
        try:
            async with asyncio.timeout(budget_s):
                result = await operation()
        except TimeoutError as error:
            if budget_s * 1000 >= timeout_ms * _LEAST_SHARE_OF_TIMEOUT:
                await self._count_failure(error)
            raise self._timed_out() from error
        except failures as error:
            await self._count_failure(error)
            raise self._unavailable("UNAVAILABLE", "failed") from error
        except InfermeshError as error:
            if _is_callers_fault(error):
                await self._count_success()
            else:
                await self._count_failure(error)
            raise
        await self._count_success()
        return result

    async def _count_failure(self, error: Exception) -> None:
        await self._breaker.__aexit__(type(error), error, None)

    async def _count_success(self) -> None:
        await self._breaker.__aexit__(None, None, None)

    def _unavailable(self, reason: str, what: str) -> Unavailable:
        self._failures.labels(self.name, reason).inc()
        return Unavailable(f"{self._reason_prefix}_{reason}", f"{self.name} {what}.")

    def _timed_out(self) -> DeadlineExceeded:
        self._failures.labels(self.name, "TIMEOUT").inc()
        return DeadlineExceeded(f"{self._reason_prefix}_TIMEOUT", f"{self.name} took too long.")
