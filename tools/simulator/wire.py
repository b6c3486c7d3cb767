"""What a wire has to do: read a request, and put an answer or an error into a provider's form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

import orjson

from tools.simulator.script import Answer, Usage

JsonObject = dict[str, object]
Headers = tuple[tuple[str, str], ...]
JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream"
CREATED = 1_700_000_000


class Part(Enum):
    """What a fault may leave out of an answer."""

    FINISH = "finish"
    USAGE = "usage"
    TERMINATOR = "terminator"


class NotOfTheWire(ValueError):
    """A request that a provider would refuse; says why."""


class Ask(NamedTuple):
    """A request, as far as answers depend on it: a tuple, since one is made for every request.

    Attributes:
        operation: what of the wire, by its own name.
        model: as asked for.
        prompt: text of the last message of the user.
        stream: events are wanted.
        extra: what else changes the answer (such as `include_usage`).
    """

    operation: str
    model: str
    prompt: str
    stream: bool = False
    extra: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error in a provider's form.

    Attributes:
        body: JSON.
        headers: those that come with it.
    """

    body: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """An error before it has a form.

    Attributes:
        status: of HTTP.
        message: for a person.
        retry_after_s: when to come again, if the provider says.
        limited: with headers of rate limits.
    """

    status: int
    message: str
    retry_after_s: int | None = None
    limited: bool = False


class Wire(Protocol):
    """A provider's form. All methods are pure."""

    @property
    def name(self) -> str:
        """As scripts name it."""

    @property
    def stream_type(self) -> str:
        """Content type of events."""

    @property
    def overloaded(self) -> int:
        """The status with which the provider says that it has too much to do."""

    def read(self, operation: str, path: str, query: str, body: Mapping[str, object]) -> Ask:
        """Understands a request.

        Raises:
            NotOfTheWire: a provider would refuse it.
        """

    def told(self, ask: Ask, usage: Usage) -> Usage:
        """The buckets of `usage` as a reader of this wire can tell them apart."""

    def whole(self, ask: Ask, answer: Answer, without: Part | None = None) -> bytes:
        """The body of an answer that is not streamed; the terminator has no meaning here."""

    def events(self, ask: Ask, answer: Answer, without: Part | None = None) -> Sequence[bytes]:
        """The events of an answer, framed."""

    def text_event(self, ask: Ask, text: str) -> bytes:
        """One event that only adds text."""

    def error(self, problem: Problem) -> ErrorBody:
        """An error instead of an answer."""

    def error_event(self, problem: Problem) -> bytes:
        """An error among the events."""


def pieces(text: str, count: int) -> list[str]:
    """`text` in at most `count` pieces of about the same length; none of them is empty."""
    size = max(1, -(-len(text) // count))
    return [text[at : at + size] for at in range(0, len(text), size)]


def sse(payload: object, event: str | None = None, end: bytes = b"\n\n") -> bytes:
    """One server-sent event."""
    name = b"event: %b\n" % event.encode() if event else b""
    return name + b"data: " + orjson.dumps(payload) + end


def content_text(content: object) -> str:
    """The text of a message's content: a string, or a list with parts that have a `text`."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return ""


def last_of_user(messages: object, content_key: str = "content") -> str:
    """The text of the last message of the user; one of tool results has none of its own.

    Raises:
        NotOfTheWire: `messages` is not a list with messages.
    """
    if not isinstance(messages, list) or not messages:
        raise NotOfTheWire("no messages")
    for message in reversed(messages):
        if not isinstance(message, dict):
            raise NotOfTheWire("a message is not an object")
        if message.get("role", "user") == "user":
            if text := content_text(message.get(content_key)):
                return text
    return ""


def text_field(body: Mapping[str, object], name: str) -> str:
    """A field that has to be there.

    Raises:
        NotOfTheWire: it is not, or is not a string.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise NotOfTheWire(f"'{name}' is missing or is no string")
    return value
