"""What can go wrong with an answer, by the point of the request at which it does: one table."""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Point(Enum):
    """Points of a request, in their order."""

    CONNECT = "connect"
    HEADERS = "headers"
    FIRST_BYTE = "first_byte"
    MID_STREAM = "mid_stream"
    TRAILER = "trailer"


class Fault(StrEnum):
    """Names of faults; `TABLE` says what they do."""

    CONNECT_REFUSED = "connect_refused"
    CONNECT_RESET = "connect_reset"
    CONNECT_CLOSE = "connect_close"
    CONNECT_HANG = "connect_hang"
    CONNECT_GARBAGE = "connect_garbage"
    HEADERS_HANG = "headers_hang"
    HEADERS_RESET = "headers_reset"
    HEADERS_CLOSE = "headers_close"
    HEADERS_GARBAGE = "headers_garbage"
    HEADERS_TRUNCATED = "headers_truncated"
    HEADERS_OVERSIZED = "headers_oversized"
    STATUS_ERROR = "status_error"
    STATUS_HTML = "status_html"
    RATE_LIMITED = "rate_limited"
    FIRST_BYTE_HANG = "first_byte_hang"
    FIRST_BYTE_RESET = "first_byte_reset"
    FIRST_BYTE_CLOSE = "first_byte_close"
    FIRST_BYTE_GARBAGE = "first_byte_garbage"
    FIRST_BYTE_EMPTY = "first_byte_empty"
    MID_STREAM_HANG = "mid_stream_hang"
    MID_STREAM_RESET = "mid_stream_reset"
    MID_STREAM_CLOSE = "mid_stream_close"
    MID_STREAM_GARBAGE = "mid_stream_garbage"
    MID_STREAM_OVERSIZED = "mid_stream_oversized"
    MID_STREAM_INVALID_UTF8 = "mid_stream_invalid_utf8"
    MID_STREAM_ERROR_EVENT = "mid_stream_error_event"
    MID_STREAM_BAD_CHUNK = "mid_stream_bad_chunk"
    TRAILER_NO_TERMINATOR = "trailer_no_terminator"
    TRAILER_NO_FINISH = "trailer_no_finish"
    TRAILER_NO_USAGE = "trailer_no_usage"
    TRAILER_WRONG_LENGTH = "trailer_wrong_length"
    TRAILER_NO_FINAL_CHUNK = "trailer_no_final_chunk"
    TRAILER_HANG = "trailer_hang"
    TRAILER_RESET = "trailer_reset"
    TRAILER_EXTRA_EVENTS = "trailer_extra_events"
    TRAILER_EXTRA_DATA = "trailer_extra_data"


@dataclass(frozen=True, slots=True)
class Row:
    """What a fault is.

    Attributes:
        point: where it strikes.
        answered: the answer is whole all the same and counts as answered.
        meaning: what the client sees.
    """

    point: Point
    answered: bool
    meaning: str


def _rows(point: Point, answered: bool = False, **meanings: str) -> dict[Fault, Row]:
    return {Fault(name): Row(point, answered, meaning) for name, meaning in meanings.items()}


TABLE: dict[Fault, Row] = {
    **_rows(
        Point.CONNECT,
        connect_refused="nothing listens",
        connect_reset="accepted, reset at once",
        connect_close="accepted, closed at once",
        connect_hang="accepted, nothing is ever said",
        connect_garbage="accepted, greeted in another protocol",
    ),
    **_rows(
        Point.HEADERS,
        headers_hang="the request is read, nothing is said",
        headers_reset="reset before any byte",
        headers_close="closed before any byte",
        headers_garbage="a status line that is none, closed",
        headers_truncated="half a status line, closed",
        headers_oversized="a header of `size` bytes, then the answer",
        status_error="`status` (500) in the provider's error shape",
        status_html="`status` (502) with a page of HTML",
        rate_limited="429 in the provider's shape with its rate-limit headers and `retry_after_s`",
    ),
    **_rows(
        Point.FIRST_BYTE,
        first_byte_hang="headers, then nothing",
        first_byte_reset="headers, then reset",
        first_byte_close="headers, then closed",
        first_byte_garbage="headers of an answer, a body that is none, well ended",
        first_byte_empty="headers of an answer, an empty body, well ended",
    ),
    **_rows(
        Point.MID_STREAM,
        mid_stream_hang="`after_events`, then nothing",
        mid_stream_reset="`after_events`, then reset",
        mid_stream_close="`after_events`, then closed",
        mid_stream_garbage="an event that is cut and not JSON in between",
        mid_stream_invalid_utf8="text that is not UTF-8 in between",
        mid_stream_error_event="`after_events`, then the provider's error event, well ended",
        mid_stream_bad_chunk="`after_events`, then a chunk of no size, closed",
    ),
    **_rows(
        Point.MID_STREAM,
        True,
        mid_stream_oversized="`size` bytes of text in one event, or of white space after the body",
    ),
    **_rows(
        Point.TRAILER,
        trailer_no_terminator="all but `[DONE]`, `message_stop`, `finishReason`, `messageStop`",
        trailer_no_finish="no reason why it finished",
        trailer_no_usage="no usage",
        trailer_wrong_length="a content-length ten bytes too long, closed",
        trailer_no_final_chunk="all but the empty chunk at the end, closed",
        trailer_hang="all but the terminator, then nothing",
        trailer_reset="all but the terminator, then reset",
    ),
    **_rows(
        Point.TRAILER,
        True,
        trailer_extra_events="more text after the terminator; as the next one if not streamed",
        trailer_extra_data="bytes after the end, on an open connection",
    ),
}


def table_markdown() -> str:
    """`TABLE` as the README has it."""
    lines = ["| point | fault | what the client sees | answered |", "|---|---|---|---|"]
    for point in Point:
        for fault, row in TABLE.items():
            if row.point is point:
                whole = "yes" if row.answered else "no"
                lines.append(f"| {point.value} | `{fault}` | {row.meaning} | {whole} |")
    return "\n".join(lines)
