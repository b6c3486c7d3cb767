"""A dependency that fails is left alone, and nobody waits for it longer than they would."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from infermesh_common import context as request_context
from infermesh_common.context import RequestContext
from infermesh_common.errors import DeadlineExceeded, InfermeshError, NotFound, Unavailable
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import eventually

THRESHOLD = 3
LONG_MS = 60_000
Operation = Callable[[], Awaitable[str]]


class LibraryError(Exception):
    """What the dependency's library raises when the dependency failed."""


async def works() -> str:
    return "done"


async def fails() -> str:
    raise LibraryError


async def hangs() -> str:
    await asyncio.Event().wait()
    return "never"


def raising(error: BaseException) -> Operation:
    async def operation() -> str:
        raise error

    return operation


async def dependency(
    metrics: Metrics, *, open_ms: int = LONG_MS, max_concurrent: int = 8
) -> Dependency:
    settings = BreakerSettings(
        failure_threshold=THRESHOLD, open_ms=open_ms, max_concurrent=max_concurrent
    )
    return await Dependency.create("vector-store", settings, metrics)


async def call(guard: Dependency, operation: Operation, timeout_ms: int = LONG_MS) -> str:
    return await guard.call(operation, timeout_ms=timeout_ms, failures=(LibraryError,))


async def reason(guard: Dependency, operation: Operation, timeout_ms: int = LONG_MS) -> str:
    with pytest.raises(InfermeshError) as caught:
        await call(guard, operation, timeout_ms)
    return caught.value.reason


async def opened(metrics: Metrics, *, open_ms: int) -> Dependency:
    guard = await dependency(metrics, open_ms=open_ms)
    for _ in range(THRESHOLD):
        assert await reason(guard, fails) == "VECTOR_STORE_UNAVAILABLE"
    assert guard.is_open
    return guard


async def half_open_after(guard: Dependency, operation: Operation) -> None:
    """Tries until the breaker lets a call through."""

    async def let_through() -> bool:
        try:
            await call(guard, operation)
        except Unavailable as error:
            return error.reason != "VECTOR_STORE_CIRCUIT_OPEN"
        return True

    await eventually(let_through, what="the breaker tries again")


def state(metrics: Metrics) -> float:
    return metrics.sample("infermesh_breaker_state", {"dependency": "vector-store"})


def failures(metrics: Metrics, why: str) -> float:
    labels = {"dependency": "vector-store", "reason": why}
    return metrics.sample("infermesh_dependency_failures_total", labels)


def bind_deadline(seconds: float) -> None:
    request_context.bind(RequestContext("/a/B", "id", {}, time.monotonic() + seconds, 0))


async def test_results_pass_through(metrics: Metrics) -> None:
    guard = await dependency(metrics)
    assert await call(guard, works) == "done"
    assert not guard.is_open and state(metrics) == 0


async def test_the_breaker_opens_after_so_many_failures_and_then_refuses_at_once(
    metrics: Metrics,
) -> None:
    guard = await opened(metrics, open_ms=LONG_MS)
    called = False

    async def operation() -> str:
        nonlocal called
        called = True
        return ""

    for _ in range(5):
        assert await reason(guard, operation) == "VECTOR_STORE_CIRCUIT_OPEN"
    assert not called and state(metrics) == 2
    assert failures(metrics, "UNAVAILABLE") == THRESHOLD
    assert failures(metrics, "CIRCUIT_OPEN") == 5


async def test_a_success_in_between_starts_the_count_again(metrics: Metrics) -> None:
    guard = await dependency(metrics)
    for _ in range(3):
        for _ in range(THRESHOLD - 1):
            await reason(guard, fails)
        await call(guard, works)
    assert not guard.is_open


async def test_a_probe_that_works_closes_the_breaker(metrics: Metrics) -> None:
    guard = await opened(metrics, open_ms=20)
    await half_open_after(guard, works)
    assert not guard.is_open and state(metrics) == 0
    for _ in range(THRESHOLD - 1):
        await reason(guard, fails)
    assert not guard.is_open


async def test_a_probe_that_fails_opens_it_again_at_once(metrics: Metrics) -> None:
    guard = await opened(metrics, open_ms=20)
    await half_open_after(guard, fails)
    assert guard.is_open and state(metrics) == 2


async def test_only_one_call_probes_at_a_time(metrics: Metrics) -> None:
    guard = await opened(metrics, open_ms=20)
    probes = 0
    release = asyncio.Event()

    async def probe() -> str:
        nonlocal probes
        probes += 1
        await release.wait()
        return "done"

    async def probing() -> bool:
        attempt = asyncio.ensure_future(call(guard, probe))
        await asyncio.sleep(0)
        if not probes:
            await asyncio.gather(attempt, return_exceptions=True)
            return False
        attempts.append(attempt)
        return True

    attempts: list[asyncio.Future[str]] = []
    await eventually(probing)
    for _ in range(5):
        assert await reason(guard, probe) == "VECTOR_STORE_CIRCUIT_OPEN"
    release.set()
    assert await attempts[0] == "done" and probes == 1
    assert await call(guard, works) == "done"


@pytest.mark.parametrize(
    "error", [NotFound("GONE", "gone"), ValueError("a defect"), asyncio.CancelledError()]
)
async def test_what_says_nothing_against_the_dependency_does_not_count_against_it(
    metrics: Metrics, error: BaseException
) -> None:
    guard = await dependency(metrics)
    for _ in range(THRESHOLD * 2):
        with pytest.raises(type(error)):
            await call(guard, raising(error))
    assert not guard.is_open
    assert await call(guard, works) == "done"


@pytest.mark.parametrize(
    "error", [Unavailable("DOWN", "down"), DeadlineExceeded("LATE", "late"), TimeoutError()]
)
async def test_an_outage_told_by_a_domain_error_counts(metrics: Metrics, error: Exception) -> None:
    guard = await dependency(metrics)
    for _ in range(THRESHOLD):
        assert await reason(guard, raising(error)) != "VECTOR_STORE_CIRCUIT_OPEN"
    assert guard.is_open


async def test_cancelled_calls_do_not_hide_that_the_dependency_fails(metrics: Metrics) -> None:
    guard = await dependency(metrics)
    for _ in range(THRESHOLD):
        with pytest.raises(asyncio.CancelledError):
            await call(guard, raising(asyncio.CancelledError()))
        await reason(guard, fails)
    assert guard.is_open


async def test_a_cancelled_probe_neither_closes_nor_blocks_the_breaker(metrics: Metrics) -> None:
    guard = await opened(metrics, open_ms=20)

    async def cancelled_probe() -> bool:
        try:
            await call(guard, raising(asyncio.CancelledError()))
        except asyncio.CancelledError:
            return True
        except Unavailable:
            return False
        return False

    await eventually(cancelled_probe)
    assert state(metrics) == 1, "half open: nothing was learnt"
    # A single failure shows that it was not closed.
    assert await reason(guard, fails) == "VECTOR_STORE_UNAVAILABLE"
    assert guard.is_open


async def test_an_operation_that_hangs_is_given_up_after_its_time_out(metrics: Metrics) -> None:
    guard = await dependency(metrics)
    for _ in range(THRESHOLD):
        assert await reason(guard, hangs, timeout_ms=10) == "VECTOR_STORE_TIMEOUT"
    assert guard.is_open and failures(metrics, "TIMEOUT") == THRESHOLD


async def test_nothing_takes_longer_than_the_callers_deadline(metrics: Metrics) -> None:
    guard = await dependency(metrics)
    bind_deadline(0.05)
    assert await reason(guard, hangs, timeout_ms=LONG_MS) == "VECTOR_STORE_TIMEOUT"
    # And when it has passed, nothing is begun.
    assert await reason(guard, works) == "DEADLINE_EXCEEDED"


async def test_callers_with_tiny_deadlines_do_not_open_the_breaker_for_others(
    metrics: Metrics,
) -> None:
    guard = await dependency(metrics)
    for _ in range(THRESHOLD * 2):
        bind_deadline(0.01)
        assert await reason(guard, hangs, timeout_ms=LONG_MS) == "VECTOR_STORE_TIMEOUT"
    assert not guard.is_open


async def test_a_deadline_that_left_most_of_the_time_out_counts(metrics: Metrics) -> None:
    guard = await dependency(metrics)
    for _ in range(THRESHOLD):
        bind_deadline(0.29)
        await reason(guard, hangs, timeout_ms=300)
    assert guard.is_open


async def test_a_full_bulkhead_refuses_and_lets_in_again_when_there_is_room(
    metrics: Metrics,
) -> None:
    guard = await dependency(metrics, max_concurrent=2)
    release = asyncio.Event()

    async def waits() -> str:
        await release.wait()
        return "done"

    inside = [asyncio.ensure_future(call(guard, waits)) for _ in range(2)]
    await asyncio.sleep(0)
    assert await reason(guard, works) == "VECTOR_STORE_OVERLOADED"
    assert not guard.is_open, "being busy is no failure of the dependency"
    release.set()
    assert await asyncio.gather(*inside) == ["done", "done"]
    assert await call(guard, works) == "done"
    assert failures(metrics, "OVERLOADED") == 1


@pytest.mark.parametrize(
    "operation",
    [
        works,
        fails,
        raising(NotFound("GONE", "gone")),
        raising(ValueError()),
        raising(asyncio.CancelledError()),
        hangs,
    ],
)
async def test_the_place_in_the_bulkhead_is_given_back_on_every_path(
    metrics: Metrics, operation: Operation
) -> None:
    guard = await dependency(metrics, max_concurrent=1)
    for _ in range(THRESHOLD + 2):  # the last ones may find the breaker open
        (outcome,) = await asyncio.gather(
            call(guard, operation, timeout_ms=10), return_exceptions=True
        )
        if isinstance(outcome, InfermeshError):
            assert outcome.reason != "VECTOR_STORE_OVERLOADED"


async def test_a_refused_call_keeps_nothing_of_the_calls_before_it(metrics: Metrics) -> None:
    guard = await opened(metrics, open_ms=LONG_MS)
    depths = []
    for _ in range(50):
        with pytest.raises(Unavailable) as caught:
            await call(guard, works)
        depth, error = 0, caught.value.__context__
        trace = None if error is None else error.__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        depths.append(depth)
    assert set(depths) == {depths[0]}
