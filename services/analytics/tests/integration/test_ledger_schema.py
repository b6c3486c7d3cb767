"""Migrations: what they make is what the code uses, once, whoever comes first."""

import asyncio
import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from infermesh_analytics.adapters.outbound.sql.engine import Database
from infermesh_analytics.adapters.outbound.sql.migrate import ADVISORY_LOCK, lock_file, migrate
from infermesh_analytics.adapters.outbound.sql.schema import METADATA
from infermesh_analytics.adapters.outbound.sql.writer import SqlLedgerWriter
from infermesh_analytics.testing import LedgerDatabase
from infermesh_common.testing.servers import eventually


async def test_the_migrations_make_the_tables_of_the_code(opened: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"version_table": "ledger_schema_version", "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, METADATA))

    assert await opened.read(differences, 10_000) == []


async def test_the_indexes_are_there(opened: Database) -> None:
    def names(connection: Connection) -> set[str]:
        found = inspect(connection)
        tables = ("usage_events", "usage_event_tags")
        return {str(index["name"]) for table in tables for index in found.get_indexes(table)}

    assert {
        "ix_usage_events_tenant_time",
        "ix_usage_events_tenant_day_model",
        "ix_usage_event_tags_tag",
    } <= await opened.read(names, 10_000)


async def test_a_second_boot_keeps_what_is_stored(
    opened: Database, database: LedgerDatabase
) -> None:
    await SqlLedgerWriter(opened).prepare()
    assert database.execute("SELECT * FROM ledger_schema_version") == [("0001",)]


async def test_replicas_that_boot_at_once_migrate_once(database: LedgerDatabase) -> None:
    replicas = [database.open() for _ in range(4)]
    await asyncio.gather(*(asyncio.to_thread(migrate, replica.engine) for replica in replicas))
    assert database.execute("SELECT * FROM ledger_schema_version") == [("0001",)]
    for replica in replicas:
        await replica.close()


@contextmanager
def somebody_migrates(database: LedgerDatabase) -> Iterator[Callable[[], bool]]:
    """Holds the lock of migrations; gives a look at whether anybody waits for it."""
    if database.server is not None:
        with database.server.connect(database.url.rpartition("/")[2]) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK,))
            waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            yield lambda: bool(database.execute(waiting))
        return
    path = lock_file(Path(database.url.removeprefix("sqlite:///")))
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiter = re.compile(rf"-> FLOCK .*:{path.stat().st_ino} ")
        yield lambda: waiter.search(Path("/proc/locks").read_text()) is not None


async def test_a_replica_waits_while_another_process_migrates(database: LedgerDatabase) -> None:
    replica = database.open()
    with somebody_migrates(database) as is_waited_for:
        migration = asyncio.create_task(asyncio.to_thread(migrate, replica.engine))
        await eventually(is_waited_for)
        assert not database.is_prepared()
    await migration
    assert database.is_prepared()
    await replica.close()


async def test_sqlite_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    database = LedgerDatabase.on_sqlite(tmp_path)
    replica = database.open()
    migrate(replica.engine)
    assert database.execute("PRAGMA journal_mode") == [("wal",)]
    with database.outage():
        assert database.count_events() == 0
    await replica.close()


async def test_a_failed_migration_leaves_nothing_behind(database: LedgerDatabase) -> None:
    # A table of that name in the way: the second one of the first version.
    database.execute("CREATE TABLE usage_event_tags (other INTEGER)")
    replica = database.open()
    with pytest.raises(DBAPIError, match="usage_event_tags"):
        await asyncio.to_thread(migrate, replica.engine)
    database.execute("DROP TABLE usage_event_tags")
    assert not database.is_prepared()
    await SqlLedgerWriter(replica).prepare()
    assert database.is_prepared()
    await replica.close()
