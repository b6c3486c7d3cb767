"""Many rows in one statement, as each database does it fastest."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from sqlalchemy import ARRAY, Column, Connection, Table, Text, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from infermesh_analytics.adapters.outbound.sql.schema import EVENTS, LABEL, TAGS

Row = dict[str, object]


class Inserts(Protocol):
    """Inserts rows; every row has the same columns."""

    def events(self, connection: Connection, rows: Sequence[Row]) -> set[UUID]:
        """Inserts those of `rows` whose event is not there; returns their ids."""

    def tags(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Inserts all of `rows`."""


class SqliteInserts:
    """VALUES with a row each, and `executemany`."""

    def __init__(self) -> None:
        self._events = sqlite.insert(EVENTS).on_conflict_do_nothing().returning(EVENTS.c.event_id)
        self._tags = TAGS.insert()

    def events(self, connection: Connection, rows: Sequence[Row]) -> set[UUID]:
        """See `Inserts`."""
        return set(connection.scalars(self._events, list(rows)))

    def tags(self, connection: Connection, rows: Sequence[Row]) -> None:
        """See `Inserts`."""
        connection.execute(self._tags, list(rows))


class PostgresqlInserts:
    """One array a column, taken apart by `unnest`.

    The statement has as many parameters as there are columns, however many rows come: VALUES with
    500 rows would have 15,000 and take ten times as long to prepare as to run.
    """

    def __init__(self) -> None:
        self._events = _from_arrays(EVENTS).on_conflict_do_nothing().returning(EVENTS.c.event_id)
        self._tags = _from_arrays(TAGS)

    def events(self, connection: Connection, rows: Sequence[Row]) -> set[UUID]:
        """See `Inserts`."""
        return set(connection.scalars(self._events, _columns(rows)))

    def tags(self, connection: Connection, rows: Sequence[Row]) -> None:
        """See `Inserts`."""
        connection.execute(self._tags, _columns(rows))


def _columns(rows: Sequence[Row]) -> Row:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _from_arrays(table: Table) -> postgresql.Insert:
    names = [column.name for column in table.columns]
    arrays = func.unnest(*(bindparam(c.name, type_=_array_of(c)) for c in table.columns))
    source = arrays.table_valued(*names, name="new").render_derived()
    statement: postgresql.Insert = postgresql.insert(table).from_select(names, select(source))
    return statement


def _array_of(column: Column[object]) -> ARRAY[object]:
    # The collation belongs to the column, not to a value.
    return ARRAY(Text() if column.type is LABEL else column.type)


def inserts_for(dialect: str) -> Inserts:
    """The inserts for a dialect of SQLAlchemy's: "sqlite" or "postgresql"."""
    return PostgresqlInserts() if dialect == "postgresql" else SqliteInserts()
