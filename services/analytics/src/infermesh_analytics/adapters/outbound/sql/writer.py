"""Writes events to the ledger."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from uuid import UUID

from sqlalchemy import Connection, Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from infermesh_analytics.adapters.outbound.sql.engine import Database
from infermesh_analytics.adapters.outbound.sql.failures import describe, refuses_content
from infermesh_analytics.adapters.outbound.sql.migrate import migrate
from infermesh_analytics.adapters.outbound.sql.schema import EVENTS, TAGS
from infermesh_analytics.domain.event import LedgerEvent
from infermesh_analytics.ports import EventRefused, LedgerUnavailable

Row = dict[str, object]
_OWN_COLUMNS = [f.name for f in fields(LedgerEvent) if f.name not in ("usage", "tags")]


class SqlLedgerWriter:
    """See `ports.LedgerWriter`.

    Args:
        database: where to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_prepared = False
        dialect = postgresql if database.engine.dialect.name == "postgresql" else sqlite
        self._insert_events: Insert = (
            dialect.insert(EVENTS).on_conflict_do_nothing().returning(EVENTS.c.event_id)
        )

    async def prepare(self) -> None:
        """Runs the migrations."""
        try:
            await self._database.run_alone(migrate)
        except (SQLAlchemyError, OSError) as error:
            raise LedgerUnavailable(describe(error)) from error
        self._is_prepared = True

    async def is_ready(self) -> bool:
        """Readiness check: the schema is in place and the database answers."""
        return self._is_prepared and await self._database.answers()

    async def store(self, events: Sequence[LedgerEvent]) -> Collection[UUID]:
        """Inserts events and tags in one transaction; events that are there stay as they are."""
        # The first one counts, as it does between batches.
        unique = {event.event_id: event for event in reversed(events)}
        try:
            return await self._database.write(lambda connection: self._insert(connection, unique))
        except DBAPIError as error:
            if refuses_content(error):
                raise EventRefused(describe(error)) from error
            raise LedgerUnavailable(describe(error)) from error
        except SQLAlchemyError as error:
            raise LedgerUnavailable(describe(error)) from error

    def _insert(self, connection: Connection, events: dict[UUID, LedgerEvent]) -> set[UUID]:
        if not events:
            return set()
        rows = [_row(event) for event in events.values()]
        stored = set(connection.scalars(self._insert_events, rows))
        tags: list[Row] = [
            {"event_id": event_id, "tag": tag}
            for event_id in stored
            for tag in events[event_id].tags
        ]
        if tags:
            connection.execute(TAGS.insert(), tags)
        return stored


def _row(event: LedgerEvent) -> Row:
    row: Row = {
        "request_time" if name == "request_time_us" else name: getattr(event, name)
        for name in _OWN_COLUMNS
    }
    return row | asdict(event.usage) | {"day": event.day, "saved": event.saved}
