"""State of the request being served, and what it hands on to the calls it makes."""

import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from infermesh_common.errors import DeadlineExceeded, InvalidArgument, Unauthenticated
from infermesh_common.identity.model import Identity

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its usual form."""
    return _UUID.fullmatch(text) is not None


@dataclass(slots=True)
class RequestContext:
    """One RPC under way.

    Attributes:
        method: full gRPC method, for example "/infermesh.cache.v1.CacheService/Lookup".
        request_id: UUID4 text; the caller's when it is valid, ours otherwise.
        metadata: the caller's metadata; text values only.
        deadline_s: `time.monotonic()` at which time is up.
        started_ns: `time.perf_counter_ns()` at the start.
        identity: who calls; set once the caller is verified.
        log_fields: what the handler adds to the canonical log line.
    """

    method: str
    request_id: str
    metadata: Mapping[str, str]
    deadline_s: float
    started_ns: int
    identity: Identity | None = None
    log_fields: dict[str, object] = field(default_factory=dict)

    def remaining_s(self) -> float:
        """Seconds until the deadline; not negative."""
        return max(0.0, self.deadline_s - time.monotonic())

    def adopt_request_id(self, request_id: str) -> str:
        """Takes the id that a request brings in its message; it counts more than the header's.

        Raises:
            InvalidArgument: INVALID_REQUEST_ID, it is not a UUID.
        """
        if not is_uuid(request_id):
            raise InvalidArgument(
                "INVALID_REQUEST_ID", "request_id must be a UUID.", field="request_id"
            )
        self.request_id = request_id.lower()
        return self.request_id

    def caller(self) -> Identity:
        """Who calls.

        Raises:
            Unauthenticated: the method is served without an identity.
        """
        if self.identity is None:
            raise Unauthenticated("IDENTITY_REQUIRED", "This operation needs an API key.")
        return self.identity


_current: ContextVar[RequestContext | None] = ContextVar("infermesh_request", default=None)


def bind(context: RequestContext) -> None:
    """Makes `context` the current one of this task."""
    _current.set(context)


def current() -> RequestContext:
    """The request being served.

    Raises:
        LookupError: no request is being served by this task.
    """
    context = _current.get()
    if context is None:
        raise LookupError("no request is being served")
    return context


def current_or_none() -> RequestContext | None:
    """The request being served, or None outside of one."""
    return _current.get()


def time_budget_s(stage_timeout_ms: int) -> float:
    """Seconds a stage may take: its own time-out, never longer than the caller's deadline.

    Raises:
        DeadlineExceeded: no time is left.
    """
    limit = stage_timeout_ms / 1000
    context = _current.get()
    if context is None:
        return limit
    remaining = context.remaining_s()
    if remaining <= 0:
        raise DeadlineExceeded("DEADLINE_EXCEEDED", "The deadline of the request has passed.")
    return min(limit, remaining)
