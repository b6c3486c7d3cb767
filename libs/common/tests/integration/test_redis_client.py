"""A Redis that is away, slow or full of callers costs little time and gives a known error."""

import asyncio
from pathlib import Path

import pytest

from infermesh_common.errors import InfermeshError
from infermesh_common.redis import FAILURES, create_redis
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings, SettingsError
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import RedisServer


async def test_it_speaks_bytes_and_knows_the_password(redis_server: RedisServer) -> None:
    redis = create_redis(redis_server.settings())
    await redis.set("acme:a", b"\xff\x00")
    assert await redis.get("acme:a") == b"\xff\x00"
    await redis.aclose()


async def test_a_password_that_cannot_be_read_is_an_error_of_the_settings(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = redis_server.settings().model_copy(update={"password_file": tmp_path / "none"})
    with pytest.raises(SettingsError):
        create_redis(settings)


@pytest.mark.parametrize("away", ["stopped", "paused"])
async def test_a_redis_that_is_away_fails_each_of_many_callers_in_a_known_way(
    own_redis: RedisServer, away: str
) -> None:
    settings = own_redis.settings(operation_timeout_ms=50).model_copy(update={"max_connections": 4})
    redis = create_redis(settings)
    await redis.ping()
    if away == "paused":
        own_redis.pause()
    else:
        own_redis.stop()
    # More callers than connections: those who wait for one must not pile up.
    outcomes = await asyncio.gather(*(redis.get("a") for _ in range(40)), return_exceptions=True)
    assert all(isinstance(outcome, FAILURES) for outcome in outcomes)
    if away == "paused":
        own_redis.resume()
    else:
        own_redis.start()
    assert await redis.get("a") is None
    await redis.aclose()


async def test_behind_its_guard_a_paused_redis_is_left_alone_and_then_found_again(
    own_redis: RedisServer, metrics: Metrics
) -> None:
    redis = create_redis(own_redis.settings(operation_timeout_ms=50))
    breaker = BreakerSettings(failure_threshold=3, open_ms=50, max_concurrent=8)
    guard = await Dependency.create("redis", breaker, metrics)

    async def ask() -> str:
        try:
            await guard.call(redis.ping, timeout_ms=50, failures=FAILURES)
        except InfermeshError as error:
            return error.reason
        return "PONG"

    assert await ask() == "PONG"
    own_redis.pause()
    reasons = {await ask() for _ in range(20)}
    assert "REDIS_CIRCUIT_OPEN" in reasons
    assert reasons <= {"REDIS_CIRCUIT_OPEN", "REDIS_TIMEOUT", "REDIS_UNAVAILABLE"}
    own_redis.resume()
    async with asyncio.timeout(20):
        while await ask() != "PONG":
            await asyncio.sleep(0)
    assert not guard.is_open
    await redis.aclose()
