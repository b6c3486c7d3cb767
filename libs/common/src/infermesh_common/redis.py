"""The Redis client of a service."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from infermesh_common.settings import RedisSettings, read_secret

FAILURES: tuple[type[Exception], ...] = (RedisError, OSError)
"""What a Redis client raises when the server is the one at fault."""


def create_redis(settings: RedisSettings) -> Redis:
    """A client with short time-outs and no retries of its own; replies are bytes.

    A connection is waited for at most as long as an operation, so a paused server cannot pile up
    waiters.
    """
    password = read_secret(settings.password_file) if settings.password_file else None
    pool = BlockingConnectionPool.from_url(
        settings.url,
        password=password,
        max_connections=settings.max_connections,
        timeout=settings.operation_timeout_ms / 1000,
        socket_connect_timeout=settings.connect_timeout_ms / 1000,
        socket_timeout=settings.operation_timeout_ms / 1000,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
    return Redis(connection_pool=pool)
