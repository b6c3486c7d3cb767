"""Fixtures of the ledger's tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infermesh_analytics.adapters.outbound.sql.engine import Database
from infermesh_analytics.adapters.outbound.sql.writer import SqlLedgerWriter
from infermesh_analytics.testing import LedgerDatabase
from infermesh_common.testing.postgres import PostgresServer

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One real PostgreSQL for the whole run; not to be stopped by a test."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerDatabase:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return LedgerDatabase.on_sqlite(tmp_path)
    return LedgerDatabase.on_postgresql(request.getfixturevalue("postgres"))


@pytest.fixture(params=KINDS)
def fragile_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerDatabase]:
    """An empty database of either kind that the test may take away."""
    if request.param == "sqlite":
        yield LedgerDatabase.on_sqlite(tmp_path)
        return
    with PostgresServer() as server:
        yield LedgerDatabase.on_postgresql(server)


@pytest.fixture
async def opened(database: LedgerDatabase) -> AsyncIterator[Database]:
    """The database with its schema, as the adapters use it."""
    engine = database.open()
    await SqlLedgerWriter(engine).prepare()
    yield engine
    await engine.close()
