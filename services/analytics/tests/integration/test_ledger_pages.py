"""Pages over gRPC: complete, in order, and each token for its own query only."""

from __future__ import annotations

from datetime import timedelta

import grpc

from infermesh.analytics.v1 import events_pb2, ledger_pb2
from infermesh.common.v1 import page_pb2
from infermesh_analytics.testing import NOON, Fill, RunningLedger, asking, make_event, refusal
from infermesh_common.identity.model import Role
from infermesh_common.testing.identity import FakeGovernance, bearer

MODEL = ledger_pb2.DIMENSION_MODEL
TAG = ledger_pb2.DIMENSION_TAG
DAY = ledger_pb2.DIMENSION_DAY


async def test_pages_of_events_are_complete_newest_first_also_within_one_microsecond(
    ledger: RunningLedger, fill: Fill, governance: FakeGovernance
) -> None:
    events = [make_event(when=NOON + timedelta(microseconds=n // 3)) for n in range(10)]
    await fill(*events)
    me = bearer(governance.issue("acme"))
    seen: list[events_pb2.UsageEvent] = []
    token = ""
    while True:
        request = ledger_pb2.ListEventsRequest(
            page=page_pb2.PageRequest(page_size=2, page_token=token)
        )
        response = await ledger.stub.ListEvents(request, metadata=me)
        assert len(response.events) == 2
        seen += response.events
        # What arrives meanwhile shifts nothing.
        await fill(make_event(when=NOON + timedelta(hours=1)))
        if not (token := response.page.next_page_token):
            break
    assert {e.event_id for e in seen} == {e.event_id for e in events} and len(seen) == 10
    moments = [e.request_time.ToMicroseconds() for e in seen]
    assert moments == sorted(moments, reverse=True)


async def test_pages_of_rows_equal_the_whole_also_among_ties(
    ledger: RunningLedger, fill: Fill, governance: FakeGovernance
) -> None:
    baselines = ["7", "7.0", "70", "0.7", None, "7", None, "8"]
    await fill(*(make_event(model=f"m{i}", baseline=b) for i, b in enumerate(baselines)))
    me = bearer(governance.issue("acme"))
    whole = (await ledger.stub.QueryUsage(asking(MODEL, DAY), metadata=me)).rows
    assert [r.model for r in whole] == ["m2", "m7", "m0", "m1", "m5", "m3", "m4", "m6"]
    seen: list[ledger_pb2.UsageRow] = []
    token = ""
    while True:
        # The order in which dimensions are named is not part of the question.
        request = asking(DAY, MODEL, page_size=3, page_token=token)
        response = await ledger.stub.QueryUsage(request, metadata=me)
        seen += response.rows
        if not (token := response.page.next_page_token):
            break
    assert seen == list(whole)


async def test_a_page_token_serves_no_other_query(
    ledger: RunningLedger, fill: Fill, governance: FakeGovernance
) -> None:
    await fill(*(make_event(model=f"m{i}") for i in range(3)))
    me = bearer(governance.issue("acme"))
    operator = bearer(governance.issue("", Role.OPERATOR))
    first = await ledger.stub.QueryUsage(asking(MODEL, page_size=1), metadata=me)
    token = first.page.next_page_token
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
    query = ledger.stub.QueryUsage
    assert (await query(asking(MODEL, page_token=token), metadata=me)).rows
    assert await refusal(query(asking(TAG, page_token=token), metadata=me)) == invalid
    assert (
        await refusal(
            query(
                asking(MODEL, where=ledger_pb2.UsageFilter(model="m1"), page_token=token),
                metadata=me,
            )
        )
        == invalid
    )
    assert await refusal(query(asking(MODEL, page_token=token), metadata=operator)) == invalid
    assert await refusal(query(asking(MODEL, page_token="AAAA"), metadata=me)) == invalid
    listing = ledger_pb2.ListEventsRequest(page=page_pb2.PageRequest(page_token=token))
    assert await refusal(ledger.stub.ListEvents(listing, metadata=me)) == invalid
