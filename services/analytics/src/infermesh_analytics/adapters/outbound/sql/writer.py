"""Writes events to the ledger."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from infermesh_analytics.adapters.outbound.sql.engine import Database
from infermesh_analytics.adapters.outbound.sql.failures import describe, refuses_content
from infermesh_analytics.adapters.outbound.sql.inserts import Row, inserts_for
from infermesh_analytics.adapters.outbound.sql.migrate import migrate
from infermesh_analytics.domain.event import USAGE_BUCKETS, LedgerEvent
from infermesh_analytics.ports import EventRefused, LedgerUnavailable

_OWN = [f.name for f in fields(LedgerEvent) if f.name not in ("usage", "tags", "request_time_us")]


class SqlLedgerWriter:
    """See `ports.LedgerWriter`.

    Args:
        database: where to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_prepared = False
        self._inserts = inserts_for(database.engine.dialect.name)

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
        stored = self._inserts.events(connection, rows)
        tags: list[Row] = [
            {"event_id": event_id, "tag": tag}
            for event_id in stored
            for tag in events[event_id].tags
        ]
        if tags:
            self._inserts.tags(connection, tags)
        return stored


def _row(event: LedgerEvent) -> Row:
    row: Row = {name: getattr(event, name) for name in _OWN}
    row |= {name: getattr(event.usage, name) for name in USAGE_BUCKETS}
    return row | {"request_time": event.request_time_us, "day": event.day, "saved": event.saved}
