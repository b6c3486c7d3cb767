"""The ledger in SQL, on SQLite and PostgreSQL: counted once, summed exactly."""

import asyncio
import traceback
import uuid
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import ParamSpec

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infermesh.analytics.v1 import events_pb2
from infermesh_analytics.adapters.inbound.events import decode_event
from infermesh_analytics.adapters.outbound.sql.engine import Database
from infermesh_analytics.adapters.outbound.sql.reader import SqlLedgerReader
from infermesh_analytics.adapters.outbound.sql.writer import SqlLedgerWriter
from infermesh_analytics.domain.event import LedgerEvent
from infermesh_analytics.domain.query import Dimension, EventFilter, UsageGroup
from infermesh_analytics.ports import EventRefused, LedgerUnavailable
from infermesh_analytics.testing import DATABASE_SETTINGS, LedgerDatabase, make_event
from infermesh_common.errors import InfermeshError
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.postgres import PostgresServer

P = ParamSpec("P")
Sums = tuple[Fraction | None, Fraction | None, Fraction | None]
# Up to 30 digits before the point and 40 behind it: no float and no default context holds them.
AMOUNTS = st.none() | st.builds(
    lambda digits, exponent: f"{Decimal(digits).scaleb(-exponent):f}",
    st.integers(0, 10**28 - 1),
    st.integers(0, 40),
)
SPENT = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x", "y"]), AMOUNTS, AMOUNTS),
    max_size=12,
)


def decoded(make: Callable[P, events_pb2.UsageEvent]) -> Callable[P, LedgerEvent]:
    return lambda *args, **fields: decode_event(make(*args, **fields).SerializeToString())


event = decoded(make_event)


async def reader_of(opened: Database, timeout_ms: int = 20_000) -> SqlLedgerReader:
    breaker = BreakerSettings(failure_threshold=5, open_ms=1000, max_concurrent=10)
    return SqlLedgerReader(
        opened, await Dependency.create("database", breaker, Metrics()), timeout_ms
    )


def expected(events: list[LedgerEvent]) -> Sums:
    """The sums by another arithmetic: fractions have no precision to lose."""
    cost = [Fraction(e.cost) for e in events if e.cost is not None]
    baseline = [Fraction(e.baseline_cost) for e in events if e.baseline_cost is not None]
    saved = [
        Fraction(e.baseline_cost) - Fraction(e.cost)
        for e in events
        if e.cost is not None and e.baseline_cost is not None
    ]
    return (
        sum(cost, Fraction(0)) if cost else None,
        sum(baseline, Fraction(0)) if baseline else None,
        sum(saved, Fraction(0)) if saved else None,
    )


def sums(group: UsageGroup) -> Sums:
    cost, baseline, saved = (
        None if amount is None else Fraction(amount)
        for amount in (group.cost, group.baseline_cost, group.saved)
    )
    return cost, baseline, saved


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    print_blob=True,
)
@given(spent=SPENT)
async def test_sums_equal_exact_sums_to_the_last_digit_and_groups_add_up(
    opened: Database, spent: list[tuple[str, str, str | None, str | None]]
) -> None:
    tenant = str(uuid.uuid4())
    events = [
        event(tenant=tenant, model=model, tags=(tag,), cost=cost, baseline=baseline)
        for model, tag, cost, baseline in spent
    ]
    await SqlLedgerWriter(opened).store(events)
    reader, where = await reader_of(opened), EventFilter(tenant=tenant)
    (total,) = await reader.usage([], where, None, 2)
    assert sums(total) == expected(events)
    assert total.unpriced == sum(e.cost is None for e in events)
    by_model = await reader.usage([Dimension.MODEL], where, None, 10)
    for group in by_model:
        assert sums(group) == expected([e for e in events if e.model == group.keys[0]])
    # With at most one tag an event, tags divide the events too.
    by_tag = await reader.usage([Dimension.TAG, Dimension.DAY], where, None, 10)
    for groups in (by_model, by_tag):
        for whole, parts in zip(sums(total), zip(*map(sums, groups))):
            known = [part for part in parts if part is not None]
            assert whole == (sum(known, Fraction(0)) if known else None)
        assert [g.position.baseline for g in groups] == sorted(
            (g.position.baseline for g in groups), reverse=True
        )


async def test_an_event_stored_again_changes_nothing(
    opened: Database, database: LedgerDatabase
) -> None:
    writer = SqlLedgerWriter(opened)
    first = event(event_id=str(uuid.uuid4()), tags=("a", "b"), cost="1")
    again = event(event_id=str(first.event_id).upper(), tags=("c",), cost="2", model="other")
    other = event(tags=("a",))
    assert await writer.store([first, again, other]) == {first.event_id, other.event_id}
    assert await writer.store([again]) == set()
    assert await writer.store([]) == set()
    assert database.count_events() == 2
    assert sorted(database.execute("SELECT tag FROM usage_event_tags")) == [("a",), ("a",), ("b",)]
    (total,) = await (await reader_of(opened)).usage([], EventFilter(model="small"), None, 1)
    assert (total.events, total.cost) == (2, Decimal("1.002"))


async def test_a_refused_event_leaves_nothing_of_its_batch_behind(
    opened: Database, database: LedgerDatabase
) -> None:
    database.refuse_model("bad")
    writer = SqlLedgerWriter(opened)
    good = event(tags=("x",))
    with pytest.raises(EventRefused):
        await writer.store([good, event(model="bad", tags=("y",))])
    assert database.count_events() == 0
    assert not database.execute("SELECT tag FROM usage_event_tags")
    assert await writer.store([good]) == {good.event_id}


async def test_replicas_that_store_the_same_events_at_once_count_them_once(
    database: LedgerDatabase,
) -> None:
    replicas = [database.open() for _ in range(3)]
    writers = [SqlLedgerWriter(replica) for replica in replicas]
    # They also boot at once, on a database without a schema.
    await asyncio.gather(*(writer.prepare() for writer in writers))
    events = [event(tags=("x", "y")) for _ in range(60)]
    batches = [
        writer.store(events[start : start + 20])
        for start in (0, 20, 40)
        for writer in (writers if start % 40 else reversed(writers))
    ]
    stored = await asyncio.gather(*batches)
    assert sum(len(ids) for ids in stored) == 60
    assert database.count_events() == 60
    assert database.execute("SELECT count(*) FROM usage_event_tags") == [(120,)]
    for replica in replicas:
        await replica.close()


async def test_a_query_that_takes_too_long_is_ended_by_the_database(
    opened: Database, database: LedgerDatabase
) -> None:
    await SqlLedgerWriter(opened).store([event() for _ in range(1000)])
    # A thousand events, each counted a thousand million times.
    database.execute("ALTER TABLE usage_events RENAME TO stored_events")
    database.execute(
        "CREATE VIEW usage_events AS SELECT e.* FROM stored_events e"
        " CROSS JOIN stored_events a CROSS JOIN stored_events b CROSS JOIN stored_events c"
    )
    impatient = await reader_of(opened, timeout_ms=50)
    with pytest.raises(InfermeshError) as caught:
        await impatient.usage([], EventFilter(), None, 1)
    assert caught.value.reason in ("DATABASE_TIMEOUT", "DATABASE_UNAVAILABLE")
    # Its thread and its connection are free again: as many more queries as there are threads.
    database.execute("DROP VIEW usage_events")
    database.execute("ALTER TABLE stored_events RENAME TO usage_events")
    patient = await reader_of(opened)
    for _ in range(3):
        (total,) = await patient.usage([], EventFilter(), None, 1)
        assert total.events == 1000


async def test_the_password_is_in_no_url_and_no_error(postgres: PostgresServer) -> None:
    database = Database(postgres.url, "hunter2", DATABASE_SETTINGS)
    with pytest.raises(LedgerUnavailable) as caught:
        await SqlLedgerWriter(database).prepare()
    assert database.engine.url.password is None
    told = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in told and postgres.password not in told
    await database.close()
