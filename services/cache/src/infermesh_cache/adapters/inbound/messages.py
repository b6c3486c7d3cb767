"""Requests of the contract as the use case wants them; what is wrong is refused by its field."""

import re
from collections.abc import Callable

from google.protobuf import duration_pb2

from infermesh.cache.v1 import cache_pb2
from infermesh_cache.application.cache import LookupQuery
from infermesh_cache.domain.entry import Answer, Entry, check_name, check_tag, check_tags
from infermesh_cache.domain.outcomes import Hit, Lease, Miss
from infermesh_cache.domain.selection import One, Scope, Selection, Selector
from infermesh_common.errors import InvalidArgument
from infermesh_common.usage import usage_from_proto, usage_to_proto

_LONGEST_TOKEN_CHARS = 64
_CURSOR = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)


def token_of(value: str, *, required: bool, field: str = "lease_token") -> str:
    """`value`, when it can be the token of a lease, or of a lesson.

    Raises:
        InvalidArgument: LEASE_TOKEN_INVALID.
    """
    if (required and not value) or len(value) > _LONGEST_TOKEN_CHARS:
        raise InvalidArgument(
            f"{field.upper()}_INVALID", "That is not a token that was given out.", field=field
        )
    return value


def lookup_query(request: cache_pb2.LookupRequest) -> LookupQuery:
    """What a lookup asks for.

    Raises:
        InvalidArgument: a field is wrong.
    """
    max_age_us = None
    if request.HasField("max_age"):
        max_age_us = _duration(request.max_age, "max_age", duration_pb2.Duration.ToMicroseconds)
    wait_ms = _duration(request.wait, "wait", duration_pb2.Duration.ToMilliseconds)
    return LookupQuery(request.fingerprint, max_age_us, request.single_flight, wait_ms)


def _duration(
    value: duration_pb2.Duration, field: str, to: Callable[[duration_pb2.Duration], int]
) -> int:
    amount = to(value)
    if amount < 0:
        raise InvalidArgument("DURATION_INVALID", f"{field} must not be negative.", field=field)
    return amount


def ttl_ms_of(request: cache_pb2.StoreRequest) -> int:
    """How long the entry is to be kept, in milliseconds; at least 1.

    Raises:
        InvalidArgument: TTL_INVALID, it is not positive.
    """
    if request.ttl.ToMicroseconds() <= 0:
        raise InvalidArgument("TTL_INVALID", "ttl must be positive.", field="ttl")
    return max(1, request.ttl.ToMilliseconds())


def answer_of(entry: cache_pb2.Entry) -> Answer:
    """The answer that is offered.

    Raises:
        InvalidArgument: a field is wrong.
    """
    if not entry.body:
        raise InvalidArgument("BODY_EMPTY", "An answer has a body.", field="entry.body")
    try:
        usage = usage_from_proto(entry.usage) if entry.HasField("usage") else None
    except ValueError as error:
        raise InvalidArgument("USAGE_INVALID", str(error), field="entry.usage") from error
    return Answer(
        body=entry.body,
        model=check_name(entry.model, "entry.model"),
        provider=check_name(entry.provider, "entry.provider", required=False),
        usage=usage,
        tags=check_tags(entry.tags, "entry.tags"),
    )


def cursor_of(request: cache_pb2.PollChangesRequest) -> str:
    """Where a poll goes on.

    Raises:
        InvalidArgument: CURSOR_INVALID.
    """
    if request.cursor and not _CURSOR.fullmatch(request.cursor):
        raise InvalidArgument(
            "CURSOR_INVALID", "The cursor is none that a response gave.", field="cursor"
        )
    return request.cursor


def selector_of(request: cache_pb2.InvalidateRequest) -> Selector:
    """Which entries are to go.

    Raises:
        InvalidArgument: none is named, or not in a valid way.
    """
    kind = request.WhichOneof("selector")
    if kind == "fingerprint":
        try:
            return One(bytes.fromhex(request.fingerprint))
        except ValueError as error:
            raise InvalidArgument(
                "FINGERPRINT_INVALID", "A fingerprint is hexadecimal.", field="fingerprint"
            ) from error
    if kind == "model":
        return Selection(Scope.MODEL, check_name(request.model, "model"))
    if kind == "tag":
        return Selection(Scope.TAG, check_tag(request.tag, "tag"))
    if kind == "all" and request.all:
        return Selection(Scope.ALL)
    raise InvalidArgument(
        "SELECTOR_MISSING",
        "Name what to invalidate: fingerprint, model, tag, or all = true.",
        field="selector",
    )


def lookup_response(outcome: Hit | Lease | Miss) -> cache_pb2.LookupResponse:
    """The response to a lookup."""
    response = cache_pb2.LookupResponse()
    if isinstance(outcome, Hit):
        response.shared = outcome.shared
        _fill(response.hit, outcome.entry)
    elif isinstance(outcome, Lease):
        response.lease.token = outcome.token
        response.lease.ttl.FromMilliseconds(outcome.ttl_ms)
    else:
        response.miss.reason = outcome.reason.value
    return response


def _fill(message: cache_pb2.Entry, entry: Entry) -> None:
    """In place: assigning a finished message would copy the body once more."""
    answer = entry.answer
    message.body = answer.body
    message.model = answer.model
    message.provider = answer.provider
    if answer.usage is not None:
        message.usage.CopyFrom(usage_to_proto(answer.usage))
    message.create_time.FromMicroseconds(entry.create_time_us)
    message.version = entry.version
    message.tags.extend(answer.tags)
    if entry.ttl_ms:
        message.ttl.FromMilliseconds(entry.ttl_ms)
