"""Settings of the analytics service. Defaults stand in `defaults.yaml` beside this file."""

from pathlib import Path

from pydantic import field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from infermesh_common.settings import CommonSettings, Settings


class DatabaseSettings(Settings):
    """How the database is used.

    Attributes:
        query_threads: queries under way at once; ingestion has a thread of its own.
        query_timeout_ms: longest time of one query, enforced by the database itself.
        lock_timeout_ms: longest wait for another process that writes.
        connect_timeout_ms: longest time to open a connection.
        silence_timeout_ms: a PostgreSQL server whose host does not even acknowledge packets is
            given up after this time.
    """

    query_threads: int
    query_timeout_ms: int
    lock_timeout_ms: int
    connect_timeout_ms: int
    silence_timeout_ms: int


class ConsumerSettings(Settings):
    """How usage events are read from the stream.

    Attributes:
        name: name of this consumer in the group, unique among the replicas and best the same
            after a restart; null derives it from the host and the listen address.
        batch_events: most events of one transaction.
        linger_ms: how long the loop waits after it took fewer, so that events come in batches.
        block_ms: longest wait for a new event before the loop looks around.
        claim_idle_ms: what another consumer has held for this long without acknowledging it is
            taken over.
        tidy_interval_ms: time between two trims of the stream.
        longest_retry_ms: bound of the growing delay after failures.
        max_dead_events: length of the dead-letter stream above which the oldest are trimmed.
    """

    name: str | None
    batch_events: int
    linger_ms: int
    block_ms: int
    claim_idle_ms: int
    tidy_interval_ms: int
    longest_retry_ms: int
    max_dead_events: int


class AnalyticsSettings(CommonSettings):
    """Everything the service needs to know.

    Attributes:
        database_url: `sqlite:////absolute/path.db` or
            `postgresql+psycopg://user@host:port/database`; never holds a password.
        database_password_file: file with the password of the user in the URL.
        database: how it is used.
        consumer: how events are read.
    """

    database_url: str
    database_password_file: Path | None
    database: DatabaseSettings
    consumer: ConsumerSettings

    @field_validator("database_url")
    @classmethod
    def _check_url(cls, text: str) -> str:
        # Messages must not repeat the text: it may hold the password that it should not.
        try:
            url = make_url(text)
        except ArgumentError:
            raise ValueError("is not a database URL") from None
        if url.password is not None:
            raise ValueError("must not hold a password; use database_password_file")
        if url.drivername == "sqlite":
            if url.database in (None, "", ":memory:"):
                raise ValueError("SQLite needs a file: a ledger in memory would not be kept")
        elif url.drivername != "postgresql+psycopg":
            raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
        return text
