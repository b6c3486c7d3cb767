"""Pytest fixtures of the workspace; loaded as a plugin by the root pyproject.toml."""

from collections.abc import Iterator

import pytest

from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.identity import FakeGovernance
from infermesh_common.testing.servers import RedisServer


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One real redis-server for the whole run; not to be stopped or paused by a test."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """The shared redis-server, emptied."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server of the test's own, which it may stop, pause and start again."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of one test."""
    return Metrics()


@pytest.fixture
def governance() -> FakeGovernance:
    """A directory of identities that the test fills."""
    return FakeGovernance.create()
