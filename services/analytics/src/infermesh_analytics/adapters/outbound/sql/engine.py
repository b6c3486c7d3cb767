"""Engines for both databases, and the threads that use them."""

import asyncio
import functools
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from infermesh_analytics.adapters.outbound.sql.money import register_functions
from infermesh_analytics.settings import DatabaseSettings

T = TypeVar("T")
_WRITES = "infermesh_writes"
_SQLITE_STEPS_BETWEEN_LOOKS = 20_000


class Database:
    """A database and bounded sets of threads: one thread that writes, several that read.

    Apart, so that slow questions never hold up ingestion. Both raise what SQLAlchemy raises.

    Args:
        url: without a password.
        password: of the user in the URL, or None.
        settings: time-outs and threads.
    """

    def __init__(self, url: str, password: str | None, settings: DatabaseSettings) -> None:
        self._settings = settings
        self.engine = _create_engine(make_url(url), password, settings)
        self._writers = ThreadPoolExecutor(1, thread_name_prefix="ledger-write")
        self._readers = ThreadPoolExecutor(settings.query_threads, thread_name_prefix="ledger-read")
        self._prober = ThreadPoolExecutor(1, thread_name_prefix="ledger-probe")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one transaction, one at a time."""
        return await _in(self._writers, functools.partial(self._write, work))

    async def run_alone(self, work: Callable[[Engine], None]) -> None:
        """Runs `work` with the engine itself while nothing else is written here."""
        await _in(self._writers, functools.partial(work, self.engine))

    async def read(self, work: Callable[[Connection], T], timeout_ms: int) -> T:
        """Runs `work` in one transaction that the database ends after `timeout_ms`."""
        return await _in(self._readers, functools.partial(self._read, work, timeout_ms))

    async def answers(self) -> bool:
        """Readiness check: whether the database answers; raises when it does not."""

        def ask(connection: Connection) -> bool:
            return connection.scalar(select(1)) == 1

        # A thread of its own: many slow questions do not make the service unfit for others.
        timeout_ms = self._settings.connect_timeout_ms
        return await _in(self._prober, functools.partial(self._read, ask, timeout_ms))

    async def close(self) -> None:
        """Waits for what is under way and closes every connection."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for threads in (self._readers, self._writers, self._prober):
            threads.shutdown(cancel_futures=True)
        self.engine.dispose()

    def _write(self, work: Callable[[Connection], T]) -> T:
        with self.engine.connect().execution_options(**{_WRITES: True}) as connection:
            with connection.begin():
                return work(connection)

    def _read(self, work: Callable[[Connection], T], timeout_ms: int) -> T:
        with self.engine.connect() as connection, connection.begin():
            driver = connection.connection.driver_connection
            if not isinstance(driver, sqlite3.Connection):
                connection.execute(
                    select(func.set_config("statement_timeout", str(timeout_ms), True))
                )
                return work(connection)
            deadline_s = time.monotonic() + timeout_ms / 1000
            driver.set_progress_handler(
                lambda: time.monotonic() > deadline_s, _SQLITE_STEPS_BETWEEN_LOOKS
            )
            try:
                return work(connection)
            finally:
                driver.set_progress_handler(None, 0)


async def _in(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _create_engine(url: URL, password: str | None, settings: DatabaseSettings) -> Engine:
    arguments = (
        {"timeout": settings.lock_timeout_ms / 1000, "check_same_thread": False}
        if url.get_backend_name() == "sqlite"
        else _postgresql_arguments(password, settings)
    )
    engine = create_engine(
        url,
        connect_args=arguments,
        # One for the writer, one for the prober.
        pool_size=settings.query_threads + 2,
        max_overflow=0,
        pool_pre_ping=True,
        # Parameters hold tenants and tags: they belong in no log.
        hide_parameters=True,
    )
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql_arguments(
    password: str | None, settings: DatabaseSettings
) -> dict[str, str | int | None]:
    return {
        # Beside the URL, not in it: URLs find their way into messages.
        "password": password,
        "connect_timeout": max(1, settings.connect_timeout_ms // 1000),
        "options": f"-c lock_timeout={settings.lock_timeout_ms}",
        "application_name": "infermesh-analytics",
        # A host that has vanished without closing its connections.
        "tcp_user_timeout": settings.silence_timeout_ms,
        "keepalives_idle": max(1, settings.silence_timeout_ms // 2000),
        "keepalives_interval": max(1, settings.silence_timeout_ms // 6000),
        "keepalives_count": 3,
    }


def _set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    # Transactions begin where `_begin_sqlite` says, not where the driver guesses.
    connection.isolation_level = None
    # An acknowledged event leaves the stream: a commit must survive a loss of power.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    register_functions(connection)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that will write takes the lock at once: one that upgrades later would fail
    # without waiting when another process has written meanwhile.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
