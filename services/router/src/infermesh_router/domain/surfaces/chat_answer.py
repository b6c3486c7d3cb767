"""Answers in OpenAI's chat form, read with care: they come from providers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from infermesh_common.usage import Usage
from infermesh_router.domain.answer import broken
from infermesh_router.domain.openai_usage import usage_of
from infermesh_router.domain.request import JsonObject


@dataclass(frozen=True, slots=True)
class Thinking:
    """A piece of a model's reasoning, or all of it.

    Attributes:
        text: readable reasoning.
        signature: proves to the provider that the text is its own; empty when it gave none.
        redacted: reasoning that only the provider can read, in place of the rest.
        index: which piece it continues; None when it is complete.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""
    index: int | None = None

    def block(self) -> dict[str, object]:
        """As it stands in `thinking_blocks`."""
        if self.redacted:
            return {"type": "redacted_thinking", "data": self.redacted}
        return {"type": "thinking", "thinking": self.text, "signature": self.signature}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function, or a piece of one.

    Attributes:
        arguments: JSON text, as the model wrote it.
        index: which call a piece belongs to; None when it is complete.
    """

    id: str
    name: str
    arguments: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a model said: a message, or what a chunk adds to one."""

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    thinking: Sequence[Thinking] = ()
    calls: Sequence[ToolCall] = ()
    finish_reason: str | None = None
    stop_sequence: str | None = None

    def all_thinking(self) -> Sequence[Thinking]:
        """The reasoning of a whole message, signed where it was signed."""
        if self.thinking:
            return self.thinking
        return (Thinking(self.reasoning),) if self.reasoning else ()


@dataclass(frozen=True, slots=True)
class Head:
    """What identifies an answer."""

    id: str = ""
    model: str = ""
    created: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of an answer at its end."""

    finish_reason: str = "stop"
    stop_sequence: str | None = None
    usage: Usage | None = None
    called: bool = False


@dataclass(slots=True)
class Listener:
    """Notes what a stream says besides its content."""

    finish_reason: str | None = None
    stop_sequence: str | None = None
    usage: Usage | None = None
    called: bool = field(default=False)

    def hear(self, value: JsonObject, spoken: Spoken | None) -> None:
        """Takes a chunk in."""
        self.usage = usage_of(value) or self.usage
        if spoken is not None:
            self.finish_reason = spoken.finish_reason or self.finish_reason
            self.stop_sequence = spoken.stop_sequence or self.stop_sequence
            self.called = self.called or bool(spoken.calls)

    def ending(self) -> Ending:
        """What the stream ended with."""
        return Ending(self.finish_reason or "stop", self.stop_sequence, self.usage, self.called)


def head_of(value: JsonObject) -> Head:
    """Id, model and time of an answer or a chunk."""
    created = value.get("created")
    if isinstance(created, bool) or not isinstance(created, int):
        created = 0
    return Head(_text(value, "id"), _text(value, "model"), created)


def message_of(value: JsonObject) -> Spoken:
    """The message of the first choice of a chat completion.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is none.
    """
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise broken("the provider's answer has no choices")
    return _spoken(choices[0], choices[0].get("message"))


def delta_of(value: JsonObject) -> Spoken | None:
    """What a chunk adds to the first choice; None when it adds nothing.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, it is not a chunk.
    """
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            return _spoken(choice, choice.get("delta"))
    return None


def ending_of(value: JsonObject, message: Spoken) -> Ending:
    """What is known at the end of a whole answer."""
    return Ending(
        message.finish_reason or "stop",
        message.stop_sequence,
        usage_of(value),
        bool(message.calls),
    )


def arguments_of(call: ToolCall) -> JsonObject | None:
    """The arguments of a call as an object; None when they are not one."""
    try:
        value = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def dump(value: object) -> bytes:
    """JSON text.

    Raises:
        Unavailable: PROVIDER_STREAM_BROKEN, what the provider sent is nested too deeply.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise broken("the provider's answer is nested too deeply") from error


def event(name: str, value: JsonObject) -> bytes:
    """A server-sent event with a name."""
    return b"event: " + name.encode() + b"\ndata: " + dump(value) + b"\n\n"


def _spoken(choice: JsonObject, said: object) -> Spoken:
    said = {} if said is None else said
    if not isinstance(said, dict):
        raise broken("a choice has no message")
    return Spoken(
        text=_content(said.get("content")),
        refusal=_text(said, "refusal"),
        reasoning=_text(said, "reasoning_content") or _text(said, "reasoning"),
        thinking=tuple(_thinking(said.get("thinking_blocks"))),
        calls=tuple(_calls(said.get("tool_calls"))),
        finish_reason=_text(choice, "finish_reason") or None,
        stop_sequence=_text(choice, "stop_sequence") or None,
    )


def _text(value: JsonObject, name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _content(content: object) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise broken("the content of a message is neither text nor a list")
    return "".join(_text(part, "text") for part in content if isinstance(part, dict))


def _thinking(blocks: object) -> Iterator[Thinking]:
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict):
            yield Thinking(
                _text(block, "thinking"),
                _text(block, "signature"),
                _text(block, "data"),
                _index(block),
            )


def _calls(calls: object) -> Iterator[ToolCall]:
    if calls is not None and not isinstance(calls, list):
        raise broken("the calls of a message are not a list")
    for call in calls or ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict):
            raise broken("a call of a message is not one of a function")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # of servers that parse them
            arguments = dump(arguments).decode()
        if arguments is not None and not isinstance(arguments, str):
            raise broken("the arguments of a call are not text")
        yield ToolCall(_text(call, "id"), _text(function, "name"), arguments or "", _index(call))


def _index(value: JsonObject) -> int | None:
    index = value.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) else None
