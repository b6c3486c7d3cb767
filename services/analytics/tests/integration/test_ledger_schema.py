"""Migrations: what they make is what the code uses, once, whoever comes first."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from infermesh_analytics.adapters.outbound.sql.engine import Database
from infermesh_analytics.adapters.outbound.sql.migrate import migrate
from infermesh_analytics.adapters.outbound.sql.schema import METADATA
from infermesh_analytics.adapters.outbound.sql.writer import SqlLedgerWriter
from infermesh_analytics.testing import LedgerDatabase


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
