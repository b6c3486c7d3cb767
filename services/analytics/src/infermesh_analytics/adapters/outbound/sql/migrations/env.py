"""Alembic's entry: runs the versions on the connection that `migrate` hands over."""

from alembic import context
from sqlalchemy import Connection

from infermesh_analytics.adapters.outbound.sql.schema import METADATA

connection = context.config.attributes["connection"]
assert isinstance(connection, Connection), "run through infermesh_analytics' migrate()"
context.configure(
    connection=connection,
    target_metadata=METADATA,
    version_table="ledger_schema_version",
    # SQLite too rolls back what creates tables, given that the driver is kept from committing.
    transactional_ddl=True,
)
context.run_migrations()
