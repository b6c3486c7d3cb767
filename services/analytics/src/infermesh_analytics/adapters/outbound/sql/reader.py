"""Reads the ledger."""

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.exc import SQLAlchemyError

from infermesh_analytics.adapters.outbound.sql.engine import Database
from infermesh_analytics.adapters.outbound.sql.money import ByAmount, ExactDecimal, ExactSum
from infermesh_analytics.adapters.outbound.sql.schema import EVENTS, LABEL, TAGS
from infermesh_analytics.domain.event import USAGE_BUCKETS, CacheStatus, Outcome
from infermesh_analytics.domain.query import (
    Dimension,
    EventFilter,
    EventPosition,
    UsageGroup,
    UsagePosition,
)
from infermesh_common.resilience import Dependency
from infermesh_common.usage import Usage

T = TypeVar("T")
_E = EVENTS.c
# Events without a tag make a group of their own: their spend is not left out.
_DIMENSIONS = {
    Dimension.TENANT: _E.tenant,
    Dimension.MODEL: _E.model,
    Dimension.TAG: func.coalesce(TAGS.c.tag, literal("", LABEL)),
    Dimension.DAY: _E.day,
}


class SqlLedgerReader:
    """See `ports.LedgerReader`.

    Args:
        database: what to read.
        guard: breaker and bulkhead of the database.
        timeout_ms: of one query.
    """

    def __init__(self, database: Database, guard: Dependency, timeout_ms: int) -> None:
        self._database = database
        self._guard = guard
        self._timeout_ms = timeout_ms

    async def usage(
        self,
        group_by: Sequence[Dimension],
        where: EventFilter,
        after: UsagePosition | None,
        limit: int,
    ) -> list[UsageGroup]:
        """Sums by group."""
        statement = _usage_statement(group_by, where, after).limit(limit)
        rows = await self._read(lambda connection: connection.execute(statement).all())
        return [_group(row, len(group_by)) for row in rows]

    async def event(self, event_id: UUID, tenant: str | None) -> bytes | None:
        """The payload of one event."""
        statement = select(_E.payload).where(_E.event_id == event_id)
        if tenant is not None:
            statement = statement.where(_E.tenant == tenant)
        return await self._read(lambda connection: connection.scalar(statement))

    async def events(
        self, where: EventFilter, after: EventPosition | None, limit: int
    ) -> list[tuple[EventPosition, bytes]]:
        """Payloads, newest first."""
        statement = select(_E.request_time, _E.event_id, _E.payload).where(*_conditions(where))
        if after is not None:
            # Keyset, not offset: page n costs what page 1 does, and new events shift nothing.
            here = tuple_(literal(after.request_time_us), literal(UUID(after.event_id)))
            statement = statement.where(tuple_(_E.request_time, _E.event_id) < here)
        statement = statement.order_by(_E.request_time.desc(), _E.event_id.desc()).limit(limit)
        rows = await self._read(lambda connection: connection.execute(statement).all())
        return [(EventPosition(moment, event_id.hex), body) for moment, event_id, body in rows]

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._guard.call(
            lambda: self._database.read(work, self._timeout_ms),
            timeout_ms=self._timeout_ms,
            failures=(SQLAlchemyError,),
        )


def _conditions(where: EventFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if where.tenant is not None:
        conditions.append(_E.tenant == where.tenant)
    if where.model is not None:
        conditions.append(_E.model == where.model)
    if where.tag is not None:
        # Not a join: it must select events, and neither multiply nor restrict the rows of tags.
        tag = TAGS.alias("wanted")
        conditions.append(exists().where(tag.c.event_id == _E.event_id, tag.c.tag == where.tag))
    if where.start_us is not None:
        conditions.append(_E.request_time >= where.start_us)
    if where.end_us is not None:
        conditions.append(_E.request_time < where.end_us)
    return conditions


def _groups(group_by: Sequence[Dimension], where: EventFilter) -> Subquery:
    keys = [_DIMENSIONS[d].label(f"key_{i}") for i, d in enumerate(group_by)]
    succeeded = _E.outcome == Outcome.SUCCEEDED.value
    from_cache = _E.cache_status.in_([status.value for status in CacheStatus])
    statement = select(
        *keys,
        func.count().label("events"),
        func.count().filter(succeeded).label("requests"),
        func.count().filter(and_(succeeded, from_cache)).label("cache_hits"),
        ExactSum(_E.cost).label("cost"),
        ExactSum(_E.baseline_cost).label("baseline_cost"),
        ExactSum(_E.saved).label("saved"),
        func.count().filter(_E.cost.is_(None)).label("unpriced"),
        *(func.coalesce(func.sum(_E[name]), 0).label(name) for name in USAGE_BUCKETS),
    )
    if Dimension.TAG in group_by:
        statement = statement.select_from(EVENTS.outerjoin(TAGS))
    return statement.where(*_conditions(where)).group_by(*keys).subquery()


def _usage_statement(
    group_by: Sequence[Dimension], where: EventFilter, after: UsagePosition | None
) -> Select[tuple[object, ...]]:
    groups = _groups(group_by, where)
    keys = [groups.c[f"key_{i}"] for i in range(len(group_by))]
    unknown = literal(UsageGroup.UNKNOWN_BASELINE, ExactDecimal())
    baseline = ByAmount(func.coalesce(groups.c.baseline_cost, unknown, type_=ExactDecimal()))
    statement: Select[tuple[object, ...]] = select(*groups.c)
    if after is not None:
        # A group has one place in the order even when its sum moves between two pages; then it
        # may be met twice or not at all, as in any list that changes while it is read.
        edge = literal(after.baseline, ExactDecimal())
        here = tuple_(*(literal(key, column.type) for key, column in zip(after.keys, keys)))
        tie = and_(baseline == edge, tuple_(*keys) > here)
        statement = statement.where(or_(baseline < edge, tie))
    return statement.order_by(baseline.desc(), *keys)


def _group(row: Row[tuple[object, ...]], keys: int) -> UsageGroup:
    values = row._mapping
    return UsageGroup(
        keys=tuple(values[f"key_{i}"] for i in range(keys)),
        # PostgreSQL's sum of bigint is numeric.
        usage=Usage(*(int(values[name]) for name in USAGE_BUCKETS)),
        **{
            name: values[name]
            for name in (
                "events",
                "requests",
                "cache_hits",
                "cost",
                "baseline_cost",
                "saved",
                "unpriced",
            )
        },
    )
