"""Usage events off the wire."""

import re
from decimal import Decimal
from typing import Literal
from uuid import UUID

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from infermesh.analytics.v1 import events_pb2
from infermesh.common.v1 import decision_pb2
from infermesh_analytics.domain.event import InvalidEvent, LedgerEvent, Outcome
from infermesh_common.usage import Usage, money_from_proto, usage_from_proto

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_TEXTS = ("tenant", "key_id", "requested_model", "protocol", "task", "error_reason")
_DECISION_TEXTS = ("model", "provider", "baseline_model", "price_version")


def parse_event_id(text: str) -> UUID:
    """The UUID in its canonical notation, of either case.

    Raises:
        ValueError: it is not one.
    """
    if not _UUID.fullmatch(text):
        raise ValueError("not a UUID")
    return UUID(text)


def time_us(moment: Timestamp) -> int:
    """Microseconds since the epoch, rounded down: the resolution of the ledger."""
    return moment.seconds * 1_000_000 + moment.nanos // 1000


def decode_event(payload: bytes) -> LedgerEvent:
    """The event in `payload`.

    Raises:
        InvalidEvent: it is not a usage event, or one that would make the ledger wrong.
    """
    try:
        event = events_pb2.UsageEvent.FromString(payload)
    except DecodeError as error:
        raise InvalidEvent("not a UsageEvent") from error
    try:
        event_id = parse_event_id(event.event_id)
    except ValueError as error:
        raise InvalidEvent("event_id is not a UUID") from error
    if not event.HasField("request_time"):
        raise InvalidEvent("request_time is missing")
    try:
        outcome = Outcome(event.outcome)
    except ValueError as error:
        raise InvalidEvent("the outcome is unknown") from error
    decision = event.decision
    return LedgerEvent(
        event_id=event_id,
        request_time_us=time_us(event.request_time),
        streamed=event.streamed,
        outcome=outcome,
        cache_status=decision.cache_status,
        tier=decision.tier,
        cost=_money(decision, "cost"),
        baseline_cost=_money(decision, "baseline_cost"),
        usage=_usage(decision),
        duration_us=event.duration_us,
        first_byte_us=event.first_byte_us,
        tags=tuple(dict.fromkeys(_text("tag", tag) for tag in event.tags if tag)),
        payload=payload,
        **{name: _text(name, getattr(event, name)) for name in _TEXTS},
        **{name: _text(name, getattr(decision, name)) for name in _DECISION_TEXTS},
    )


def _text(name: str, value: str) -> str:
    # PostgreSQL cannot hold it; refused for both databases, so that they hold the same.
    if "\0" in value:
        raise InvalidEvent(f"{name} holds a NUL character")
    return value


def _money(
    decision: decision_pb2.Decision, name: Literal["cost", "baseline_cost"]
) -> Decimal | None:
    # Absent is unknown; an empty amount is a defect of who wrote it.
    if not decision.HasField(name):
        return None
    try:
        return money_from_proto(getattr(decision, name))
    except ValueError as error:
        raise InvalidEvent(f"{name} is not an amount in US dollars") from error


def _usage(decision: decision_pb2.Decision) -> Usage:
    try:
        return usage_from_proto(decision.usage)
    except ValueError as error:
        raise InvalidEvent(str(error)) from error
