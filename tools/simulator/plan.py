"""Turns an answer and a fault into what goes over the connection."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from http.client import responses
from itertools import groupby
from typing import cast

from tools.simulator.faults import TABLE, Fault
from tools.simulator.script import Answer, FaultSpec, Latency, Usage
from tools.simulator.wire import JSON_TYPE, Ask, Headers, Part, Problem, Wire

Step = bytes | float
_FINAL_CHUNK = b"0\r\n\r\n"
_GARBAGE = b"\x00\x1f<html><body>upstream connect error\x7f</body>"
_PAGE = b"<html><head><title>%d</title></head><body><h1>Bad Gateway</h1></body></html>"
_MARK = "(here)"
_NOT_UTF8 = b"\xff\xfe\xc3\x28\xa0\xa1"
_TOO_LONG_BY = 10


class Ending(Enum):
    """What becomes of the connection after the last step."""

    KEEP = "keep"
    HANG = "hang"
    RESET = "reset"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with one request.

    Attributes:
        steps: bytes to send and seconds to wait.
        ending: then.
        model: asked for; "" if that could not be read.
        wire: its name.
        stream: events were wanted.
        status: of HTTP; None when there is none.
        fault: of the script.
        answered: once all is sent, it is an answer to pay for.
        usage: of the answer, as the wire tells it; none of an error.
        correct: as recorded; None without a record.
        unknown: there is no record of it.
    """

    steps: tuple[Step, ...]
    ending: Ending
    model: str
    wire: str
    stream: bool
    status: int | None
    fault: Fault | None = None
    answered: bool = False
    usage: Usage = Usage()
    correct: bool | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class _Said:
    """An HTTP response in parts.

    Attributes:
        head: status line and headers.
        frames: of the body, an event each.
        end: of the body.
        ending: see `Ending`.
        status: see `Plan`.
    """

    head: bytes = b""
    frames: list[bytes] = field(default_factory=list)
    end: bytes = b""
    ending: Ending = Ending.KEEP
    status: int | None = None

    def steps(self, latency: Latency) -> tuple[Step, ...]:
        """With the pauses; neighbours without one are sent together."""
        paused: list[Step] = [latency.headers_ms / 1000, self.head, latency.first_byte_ms / 1000]
        for at, frame in enumerate(self.frames):
            paused += [latency.token_ms / 1000 if at else 0.0, frame]
        steps: list[Step] = []
        for together, run in groupby(filter(None, [*paused, self.end]), type):
            if together is bytes:
                steps.append(b"".join(cast(Iterator[bytes], run)))
            else:
                steps += cast(Iterator[float], run)
        return tuple(steps)


def head_of(status: int, headers: Headers) -> bytes:
    """Status line and headers, with the empty line at their end."""
    reason = responses.get(status, "Overloaded")
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def response(status: int, content_type: str, body: bytes, headers: Headers = ()) -> bytes:
    """A whole HTTP response."""
    own = (("content-type", content_type), ("content-length", str(len(body))))
    return head_of(status, own + headers) + body


def answer_plan(
    wire: Wire,
    ask: Ask,
    answer: Answer,
    latency: Latency,
    fault: FaultSpec | None = None,
    headers: Headers = (),
    correct: bool | None = None,
) -> Plan:
    """An answer, or what a fault makes of it; `headers` are added."""
    said = _Saying(wire, ask, answer, fault, headers).said()
    return Plan(
        said.steps(latency),
        said.ending,
        ask.model,
        wire.name,
        ask.stream,
        said.status,
        fault.name if fault else None,
        fault is None or TABLE[fault.name].answered,
        wire.told(ask, answer.usage) if said.status == 200 else Usage(),
        correct,
    )


def error_plan(wire: Wire, problem: Problem, model: str = "", *, unknown: bool = False) -> Plan:
    """An error that no script asked for."""
    step = _error(wire, problem).head
    return Plan((step,), Ending.KEEP, model, wire.name, False, problem.status, unknown=unknown)


def _error(wire: Wire, problem: Problem, headers: Headers = ()) -> _Said:
    error = wire.error(problem)
    whole = response(problem.status, JSON_TYPE, error.body, error.headers + headers)
    return _Said(whole, status=problem.status)


class _Saying:
    """Says one answer on one wire, or what a fault makes of it."""

    def __init__(
        self, wire: Wire, ask: Ask, answer: Answer, spec: FaultSpec | None, headers: Headers
    ) -> None:
        self._wire = wire
        self._ask = ask
        self._answer = answer
        self._spec = spec
        self._type = ("content-type", wire.stream_type if ask.stream else JSON_TYPE)
        self._headers = headers

    def said(self) -> _Said:
        """All of it."""
        spec = self._spec
        if spec is None:
            return self._framed(self._body())
        fault = spec.name
        if fault in _BEFORE_HEADERS:
            return _BEFORE_HEADERS[fault]
        if fault in _CUT_AFTER_HEADERS:
            return self._cut([], _CUT_AFTER_HEADERS[fault])
        if fault in _CUT_MID_STREAM:
            return self._cut(self._halves()[0], _CUT_MID_STREAM[fault])
        if fault in _LEFT_OUT:
            return self._framed(self._body(_LEFT_OUT[fault]))
        if fault in _ENDED_BEFORE_TERMINATOR:
            return self._cut(self._body(Part.TERMINATOR), _ENDED_BEFORE_TERMINATOR[fault])
        return self._special(spec)

    def _special(self, spec: FaultSpec) -> _Said:
        match spec.name:
            case Fault.RATE_LIMITED:
                return self._problem(spec, 429, "Rate limit reached", limited=True)
            case Fault.STATUS_ERROR:
                return self._problem(spec, 500, "The server had an error")
            case Fault.STATUS_HTML:
                status = spec.status or 502
                page = response(status, "text/html", _PAGE % status, self._headers)
                return _Said(page, status=status)
            case Fault.HEADERS_OVERSIZED:
                return self._framed(self._body(), (("x-filler", "x" * spec.size),))
            case Fault.FIRST_BYTE_GARBAGE:
                return self._framed([_GARBAGE])
            case Fault.FIRST_BYTE_EMPTY:
                return self._framed([])
            case Fault.MID_STREAM_BAD_CHUNK:
                return self._chunked(self._halves()[0], b"zz\r\n", Ending.CLOSE)
            case Fault.TRAILER_NO_FINAL_CHUNK:
                return self._chunked(self._body(), b"", Ending.CLOSE)
            case Fault.TRAILER_WRONG_LENGTH:
                return self._sized(self._body(), _TOO_LONG_BY, Ending.CLOSE)
            case Fault.TRAILER_EXTRA_EVENTS if self._ask.stream:
                return self._framed([*self._body(), self._wire.text_event(self._ask, "more")])
            case Fault.TRAILER_EXTRA_DATA | Fault.TRAILER_EXTRA_EVENTS:
                said = self._framed(self._body())
                return _Said(said.head, said.frames, said.end + _GARBAGE, said.ending, 200)
            case _:
                return self._framed(self._disturbed(spec))

    def _disturbed(self, spec: FaultSpec) -> list[bytes]:
        """A body with something in it that does not belong there."""
        before, after = self._halves()
        event = self._wire.text_event(self._ask, _MARK)
        match spec.name:
            case Fault.MID_STREAM_GARBAGE:
                cut = event[: len(event) // 2] + b"\n\n" if self._ask.stream else _GARBAGE
                return [*before, cut, *after]
            case Fault.MID_STREAM_INVALID_UTF8:
                if self._ask.stream:
                    return [*before, event.replace(_MARK.encode(), _NOT_UTF8), *after]
                return [*before, _NOT_UTF8, *after]
            case Fault.MID_STREAM_OVERSIZED:
                if self._ask.stream:
                    return [*before, self._wire.text_event(self._ask, "x" * spec.size), *after]
                return [*self._body(), b" " * spec.size]
            case Fault.MID_STREAM_ERROR_EVENT:
                status = spec.status or self._wire.overloaded
                problem = Problem(status, spec.message or "Overloaded", spec.retry_after_s)
                if self._ask.stream:
                    return [*before, self._wire.error_event(problem)]
                return [self._wire.error(problem).body]
            case _:
                raise NotImplementedError(f"{spec.name} is in no table")

    def _problem(
        self, spec: FaultSpec, status: int, message: str, *, limited: bool = False
    ) -> _Said:
        problem = Problem(
            spec.status or status, spec.message or message, spec.retry_after_s, limited
        )
        return _error(self._wire, problem, self._headers)

    def _body(self, without: Part | None = None) -> list[bytes]:
        if self._ask.stream:
            return list(self._wire.events(self._ask, self._answer, without))
        body = self._wire.whole(self._ask, self._answer, without)
        # What ends JSON is its last brace.
        return [body[:-1] if without is Part.TERMINATOR else body]

    def _halves(self) -> tuple[list[bytes], list[bytes]]:
        """The body before the fault and after it; the unit is an event, or a byte."""
        body = self._body()
        given = self._spec.after_events if self._spec else None
        if self._ask.stream:
            at = len(body) // 2 if given is None else given
            return body[:at], body[at:]
        at = len(body[0]) // 2 if given is None else given
        return [body[0][:at]], [body[0][at:]]

    def _framed(self, body: list[bytes], headers: Headers = ()) -> _Said:
        if self._ask.stream:
            return self._chunked(body, _FINAL_CHUNK, Ending.KEEP, headers)
        return self._sized(body, 0, Ending.KEEP, headers)

    def _chunked(
        self, body: list[bytes], end: bytes, ending: Ending, headers: Headers = ()
    ) -> _Said:
        own = (self._type, ("transfer-encoding", "chunked"))
        head = head_of(200, own + headers + self._headers)
        frames = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in body if piece]
        return _Said(head, frames, end, ending, 200)

    def _sized(
        self, body: list[bytes], too_long_by: int, ending: Ending, headers: Headers = ()
    ) -> _Said:
        length = sum(map(len, body)) + too_long_by
        own = (self._type, ("content-length", str(length)))
        return _Said(head_of(200, own + headers + self._headers), body, b"", ending, 200)

    def _cut(self, body: list[bytes], ending: Ending) -> _Said:
        """The headers of the whole answer, but less of a body."""
        if self._ask.stream:
            return self._chunked(body, b"", ending)
        missing = sum(map(len, self._body())) - sum(map(len, body))
        return self._sized(body, missing, ending)


_BEFORE_HEADERS = {
    Fault.HEADERS_HANG: _Said(ending=Ending.HANG),
    Fault.HEADERS_RESET: _Said(ending=Ending.RESET),
    Fault.HEADERS_CLOSE: _Said(ending=Ending.CLOSE),
    Fault.HEADERS_GARBAGE: _Said(b"HTTQ/9.9 whatever\r\n\r\n", ending=Ending.CLOSE),
    Fault.HEADERS_TRUNCATED: _Said(b"HTTP/1.1 20", ending=Ending.CLOSE),
}
_CUT_AFTER_HEADERS = {
    Fault.FIRST_BYTE_HANG: Ending.HANG,
    Fault.FIRST_BYTE_RESET: Ending.RESET,
    Fault.FIRST_BYTE_CLOSE: Ending.CLOSE,
}
_CUT_MID_STREAM = {
    Fault.MID_STREAM_HANG: Ending.HANG,
    Fault.MID_STREAM_RESET: Ending.RESET,
    Fault.MID_STREAM_CLOSE: Ending.CLOSE,
}
_LEFT_OUT = {
    Fault.TRAILER_NO_TERMINATOR: Part.TERMINATOR,
    Fault.TRAILER_NO_FINISH: Part.FINISH,
    Fault.TRAILER_NO_USAGE: Part.USAGE,
}
_ENDED_BEFORE_TERMINATOR = {
    Fault.TRAILER_HANG: Ending.HANG,
    Fault.TRAILER_RESET: Ending.RESET,
}
