"""What counts as a usage event, and what would make the ledger wrong."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from infermesh.analytics.v1 import events_pb2
from infermesh.common.v1 import money_pb2
from infermesh_analytics.adapters.inbound.events import decode_event
from infermesh_analytics.domain.event import InvalidEvent, Outcome
from infermesh_analytics.testing import make_event
from infermesh_common.usage import Usage

Change = Callable[[events_pb2.UsageEvent], object]


def money(amount: str, currency: str = "USD") -> money_pb2.Money:
    return money_pb2.Money(amount=amount, currency_code=currency)


def test_every_column_comes_from_the_event() -> None:
    message = make_event(tags=("b", "a", "b", ""), cost="0.25", baseline="1")
    message.streamed = True
    message.error_reason = "NONE"
    payload = message.SerializeToString()
    event = decode_event(payload)
    assert str(event.event_id) == message.event_id
    assert event.tags == ("b", "a")
    assert (event.cost, event.baseline_cost, event.saved) == (
        Decimal("0.25"),
        Decimal(1),
        Decimal("0.75"),
    )
    assert event.usage == Usage(input_tokens=10, output_tokens=5)
    assert event.outcome is Outcome.SUCCEEDED
    assert (event.cache_status, event.tier) == (2, 1)
    assert (event.tenant, event.key_id, event.model) == ("acme", "0123456789abcdef", "small")
    assert (event.provider, event.baseline_model) == ("simulator", "large")
    assert (event.requested_model, event.protocol, event.task) == ("auto", "openai.chat", "general")
    assert (event.price_version, event.error_reason) == ("overlay-1", "NONE")
    assert (event.duration_us, event.first_byte_us, event.streamed) == (1500, 900, True)
    assert event.payload == payload


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("event_id is not a UUID", lambda e: setattr(e, "event_id", "")),
        ("event_id is not a UUID", lambda e: setattr(e, "event_id", f"{{{e.event_id}}}")),
        ("the tenant is missing", lambda e: setattr(e, "tenant", "")),
        ("tenant holds a NUL character", lambda e: setattr(e, "tenant", "a\0")),
        ("tag holds a NUL character", lambda e: e.tags.append("\0")),
        ("model holds a NUL character", lambda e: setattr(e.decision, "model", "\0")),
        ("request_time is missing", lambda e: e.ClearField("request_time")),
        ("request_time is out of range", lambda e: setattr(e.request_time, "seconds", 10**12)),
        ("request_time is out of range", lambda e: setattr(e.request_time, "seconds", -(10**12))),
        ("the outcome is unknown", lambda e: e.ClearField("outcome")),
        ("the outcome is unknown", lambda e: setattr(e, "outcome", 99)),
        ("cost is not an amount in US dollars", lambda e: e.decision.cost.CopyFrom(money("1", ""))),
        ("cost is not an amount in US dollars", lambda e: e.decision.cost.CopyFrom(money(""))),
        ("cost is not an amount in US dollars", lambda e: e.decision.cost.CopyFrom(money("NaN"))),
        ("cost is negative", lambda e: e.decision.cost.CopyFrom(money("-0.1"))),
        ("cost has too many digits", lambda e: e.decision.cost.CopyFrom(money("1e999999"))),
        (
            "baseline_cost has too many digits",
            lambda e: e.decision.baseline_cost.CopyFrom(money("1e-101")),
        ),
        (
            "input_tokens must not be negative",
            lambda e: setattr(e.decision.usage, "input_tokens", -1),
        ),
        (
            "output_tokens is out of range",
            lambda e: setattr(e.decision.usage, "output_tokens", 10**12 + 1),
        ),
    ],
)
def test_what_would_make_the_ledger_wrong_is_refused_with_its_reason(
    reason: str, change: Change
) -> None:
    event = make_event()
    change(event)
    with pytest.raises(InvalidEvent, match=f"^{reason}$"):
        decode_event(event.SerializeToString())


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_refused(payload: bytes) -> None:
    try:
        event = decode_event(payload)
    except InvalidEvent:
        return
    assert event.tenant


def test_an_absent_decision_is_an_unknown_cost_not_zero() -> None:
    message = make_event()
    message.ClearField("decision")
    event = decode_event(message.SerializeToString())
    assert event.cost is None and event.baseline_cost is None and event.saved is None


def test_the_saving_is_derived_and_may_be_negative() -> None:
    message = make_event(cost="0.3", baseline="0.1")
    message.decision.saved.CopyFrom(money("5"))
    assert decode_event(message.SerializeToString()).saved == Decimal("-0.2")


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 3, 1, 23, 59, 59, 999999, UTC), "2026-03-01"),
        (datetime(2026, 3, 2, tzinfo=UTC), "2026-03-02"),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), "1969-12-31"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), "9999-12-31"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01"),
    ],
)
def test_days_are_days_in_utc(moment: datetime, day: str) -> None:
    assert decode_event(make_event(when=moment).SerializeToString()).day.isoformat() == day


def test_times_are_rounded_down_to_microseconds() -> None:
    message = make_event()
    message.request_time.CopyFrom(Timestamp(seconds=-1, nanos=999_999_999))
    assert decode_event(message.SerializeToString()).request_time_us == -1
