"""LedgerService over gRPC, fed by a real stream, on both databases."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from infermesh.analytics.v1 import events_pb2, ledger_pb2
from infermesh.common.v1 import decision_pb2, usage_pb2
from infermesh_analytics.testing import NOON, Fill, RunningLedger, asking, make_event, refusal
from infermesh_common.identity.directory import INTERNAL_TOKEN_HEADER, TENANT_HEADER
from infermesh_common.identity.model import Role
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.settings import INTERNAL_TOKEN

HIT = decision_pb2.CACHE_STATUS_HIT
SHARED = decision_pb2.CACHE_STATUS_SHARED
FAILED = events_pb2.OUTCOME_FAILED
CANCELLED = events_pb2.OUTCOME_CANCELLED
TENANT = ledger_pb2.DIMENSION_TENANT
MODEL = ledger_pb2.DIMENSION_MODEL
TAG = ledger_pb2.DIMENSION_TAG
DAY = ledger_pb2.DIMENSION_DAY


def stamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


async def test_totals_count_answers_hits_failures_and_exact_money(
    ledger: RunningLedger, fill: Fill, governance: FakeGovernance
) -> None:
    await fill(
        make_event(cost="0.1", baseline="0.3"),
        make_event(cost="0.0000000000000000000000000000001", baseline="0.2", cache_status=HIT),
        make_event(cost="0", baseline="0.2", cache_status=SHARED),
        make_event(cost="0.05", baseline=None, outcome=FAILED, cache_status=HIT),
        make_event(cost=None, baseline="0.7", outcome=CANCELLED),
    )
    me = bearer(governance.issue("acme"))
    response = await ledger.stub.QueryUsage(asking(), metadata=me)
    (row,) = response.rows
    assert (row.requests, row.cache_hits, row.failures, row.unpriced_requests) == (3, 2, 2, 1)
    assert row.hit_rate == pytest.approx(2 / 3)
    # A failed answer that was paid for is spend; an unknown cost is in no sum of costs.
    assert row.cost.amount == "0.1500000000000000000000000000001"
    assert row.baseline_cost.amount == "1.4"
    # Only where both are known: 0.7 - 0.1000000000000000000000000000001.
    assert row.saved.amount == "0.5999999999999999999999999999999"
    assert row.cost.currency_code == "USD"
    assert row.usage == usage_pb2.TokenUsage(input_tokens=50, output_tokens=25)
    assert (row.tenant, row.model, row.tag, row.day) == ("", "", "", "")
    assert not response.page.next_page_token


async def test_an_unknown_sum_is_absent_and_an_empty_ledger_is_zero(
    ledger: RunningLedger, fill: Fill, governance: FakeGovernance
) -> None:
    me = bearer(governance.issue("acme"))
    (empty,) = (await ledger.stub.QueryUsage(asking(), metadata=me)).rows
    assert (empty.requests, empty.cost.amount, empty.saved.amount) == (0, "0", "0")
    assert not (await ledger.stub.QueryUsage(asking(MODEL), metadata=me)).rows
    await fill(make_event(cost=None, baseline=None))
    (row,) = (await ledger.stub.QueryUsage(asking(), metadata=me)).rows
    assert row.unpriced_requests == 1
    assert not row.HasField("cost") and not row.HasField("baseline_cost")
    assert not row.HasField("saved")


async def test_rows_are_grouped_by_every_dimension_and_ordered_by_baseline(
    ledger: RunningLedger, fill: Fill, governance: FakeGovernance, subtests: pytest.Subtests
) -> None:
    later = NOON + timedelta(days=1)
    await fill(
        make_event(model="a", tags=("x", "y", "x"), baseline="9"),
        make_event(model="b", tags=("x",), baseline="10"),
        make_event(model="b", baseline="1", when=later),
        make_event(model="c", baseline=None),
        make_event(model="d", tenant="other", baseline="100"),
    )
    operator = bearer(governance.issue("", Role.OPERATOR))

    async def table(*group_by: ledger_pb2.Dimension.ValueType) -> list[tuple[str, ...]]:
        rows = (await ledger.stub.QueryUsage(asking(*group_by), metadata=operator)).rows
        names = [ledger_pb2.Dimension.Name(d).removeprefix("DIMENSION_").lower() for d in group_by]
        return [(*(getattr(r, n) for n in names), r.baseline_cost.amount) for r in rows]

    with subtests.test("numbers, not text: 11 before 9"):
        assert await table(MODEL) == [("d", "100"), ("b", "11"), ("a", "9"), ("c", "")]
    with subtests.test("an event counts once for each of its tags, and untagged ones for none"):
        assert await table(TAG) == [("", "101"), ("x", "19"), ("y", "9")]
    with subtests.test("days are UTC"):
        assert await table(DAY) == [("2026-03-01", "119"), ("2026-03-02", "1")]
    with subtests.test("tenants"):
        assert await table(TENANT) == [("other", "100"), ("acme", "20")]
    with subtests.test("all four"):
        assert await table(DAY, TAG, TENANT, MODEL) == [
            ("2026-03-01", "", "other", "d", "100"),
            ("2026-03-01", "x", "acme", "b", "10"),
            ("2026-03-01", "x", "acme", "a", "9"),
            ("2026-03-01", "y", "acme", "a", "9"),
            ("2026-03-02", "", "acme", "b", "1"),
            ("2026-03-01", "", "acme", "c", ""),
        ]


async def test_filters_select_events_and_times_are_half_open(
    ledger: RunningLedger, fill: Fill, governance: FakeGovernance
) -> None:
    await fill(
        make_event(model="a", tags=("x", "y"), baseline="1", when=NOON),
        make_event(model="b", tags=("x",), baseline="2", when=NOON + timedelta(microseconds=1)),
        make_event(model="b", baseline="4", when=NOON + timedelta(microseconds=2)),
    )
    me = bearer(governance.issue("acme", Role.ADMIN))

    async def total(**where: object) -> str:
        request = ledger_pb2.QueryUsageRequest()
        for name, value in where.items():
            if isinstance(value, str):
                setattr(request.filter, name, value)
            else:
                getattr(request.filter, name).CopyFrom(value)
        (row,) = (await ledger.stub.QueryUsage(request, metadata=me)).rows
        return row.baseline_cost.amount

    first, second, third = (stamp(NOON + timedelta(microseconds=n)) for n in range(3))
    assert await total(tenant="acme") == "7"
    assert await total(model="b") == "6"
    assert await total(tag="x") == "3"
    assert await total(model="b", tag="x") == "2"
    assert await total(start_time=second) == "6"
    assert await total(end_time=second) == "1"
    assert await total(start_time=first, end_time=third) == "3"
    assert await total(start_time=second, end_time=second) == "0"
    # A filter by tag selects events: the other tag of a selected one has its row.
    rows = (
        await ledger.stub.QueryUsage(
            asking(TAG, where=ledger_pb2.UsageFilter(tag="y")), metadata=me
        )
    ).rows
    assert [(r.tag, r.requests) for r in rows] == [("x", 1), ("y", 1)]


async def test_nobody_but_an_operator_sees_another_tenant(
    ledger: RunningLedger, fill: Fill, governance: FakeGovernance
) -> None:
    theirs = make_event(tenant="other", baseline="5")
    await fill(make_event(baseline="1"), theirs)
    operator = bearer(governance.issue("", Role.OPERATOR))
    service = ((INTERNAL_TOKEN_HEADER, INTERNAL_TOKEN), (TENANT_HEADER, "acme"))
    nobody = ((INTERNAL_TOKEN_HEADER, INTERNAL_TOKEN),)
    asked = ledger_pb2.GetEventRequest(event_id=theirs.event_id)
    listed = ledger_pb2.ListEventsRequest(filter=ledger_pb2.UsageFilter(tenant="other"))
    forbidden = (grpc.StatusCode.PERMISSION_DENIED, "TENANT_FORBIDDEN")
    missing = (grpc.StatusCode.NOT_FOUND, "EVENT_NOT_FOUND")
    for who in (
        bearer(governance.issue("acme")),
        bearer(governance.issue("acme", Role.ADMIN)),
        service,
    ):
        rows = (await ledger.stub.QueryUsage(asking(TENANT), metadata=who)).rows
        assert [(r.tenant, r.baseline_cost.amount) for r in rows] == [("acme", "1")]
        events = (await ledger.stub.ListEvents(ledger_pb2.ListEventsRequest(), metadata=who)).events
        assert [e.tenant for e in events] == ["acme"]
        assert (
            await refusal(
                ledger.stub.QueryUsage(
                    asking(where=ledger_pb2.UsageFilter(tenant="other")), metadata=who
                )
            )
            == forbidden
        )
        assert await refusal(ledger.stub.ListEvents(listed, metadata=who)) == forbidden
        assert await refusal(ledger.stub.GetEvent(asked, metadata=who)) == missing
    rows = (await ledger.stub.QueryUsage(asking(TENANT), metadata=operator)).rows
    assert [r.tenant for r in rows] == ["other", "acme"]
    rows = (
        await ledger.stub.QueryUsage(
            asking(TENANT, where=ledger_pb2.UsageFilter(tenant="acme")), metadata=operator
        )
    ).rows
    assert [r.tenant for r in rows] == ["acme"]
    assert (await ledger.stub.GetEvent(asked, metadata=operator)).event == theirs
    assert await refusal(ledger.stub.QueryUsage(asking(), metadata=nobody)) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "TENANT_REQUIRED",
    )
    assert (await refusal(ledger.stub.QueryUsage(asking())))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_get_event_returns_it_whole(
    ledger: RunningLedger, fill: Fill, governance: FakeGovernance
) -> None:
    event = make_event(tags=("team=search",), event_id=str(uuid.uuid4()).upper())
    event.decision.stages.add(stage="cache.lookup", duration_us=3)
    await fill(event)
    me = bearer(governance.issue("acme"))
    request = ledger_pb2.GetEventRequest(event_id=event.event_id.lower())
    assert (await ledger.stub.GetEvent(request, metadata=me)).event == event
    unknown = ledger_pb2.GetEventRequest(event_id=str(uuid.uuid4()))
    assert await refusal(ledger.stub.GetEvent(unknown, metadata=me)) == (
        grpc.StatusCode.NOT_FOUND,
        "EVENT_NOT_FOUND",
    )


async def test_wrong_questions_are_refused_with_their_reason(
    ledger: RunningLedger, governance: FakeGovernance
) -> None:
    me = bearer(governance.issue("acme"))
    query = ledger.stub.QueryUsage
    for request, reason in (
        (asking(MODEL, DAY, MODEL), "DUPLICATE_DIMENSION"),
        (asking(ledger_pb2.DIMENSION_UNSPECIFIED), "UNKNOWN_DIMENSION"),
        (ledger_pb2.QueryUsageRequest.FromString(b"\x0a\x01\x63"), "UNKNOWN_DIMENSION"),
        (asking(page_size=-1), "INVALID_PAGE_SIZE"),
        (asking(where=ledger_pb2.UsageFilter(model="a\0b")), "INVALID_FILTER"),
        (
            asking(
                where=ledger_pb2.UsageFilter(
                    start_time=stamp(NOON), end_time=stamp(NOON - timedelta(microseconds=1))
                )
            ),
            "INVALID_TIME_RANGE",
        ),
        (
            asking(where=ledger_pb2.UsageFilter(start_time=Timestamp(seconds=10**17))),
            "INVALID_TIME_RANGE",
        ),
    ):
        assert await refusal(query(request, metadata=me)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            reason,
        )
    for text in ("", "abc", "{00000000-0000-0000-0000-000000000000}"):
        call = ledger.stub.GetEvent(ledger_pb2.GetEventRequest(event_id=text), metadata=me)
        assert await refusal(call) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_EVENT_ID")
