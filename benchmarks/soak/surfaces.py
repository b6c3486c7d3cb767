"""Every surface of the mesh as clients see it: what they send, and what they make of answers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

Json = dict[str, object]
_TOKENS = 256


class NotOfTheSurface(Exception):
    """An answer or an error is not in the form that the surface promises; says what came."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in the surface's own form.

    Attributes:
        code: the stable one, in lower case.
        message: for a person.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says.

    Attributes:
        text: of the model.
        ended: it ends as an answer that is whole does.
        failure: the error that it ends with.
    """

    text: str
    ended: bool
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    data: str


class Surface(Protocol):
    """One HTTP surface."""

    name: str
    path: str

    def body(self, model: str, question: str, *, stream: bool) -> Json:
        """The request that asks `question`."""
        ...

    def whole(self, value: Json) -> str:
        """The text of a whole answer."""
        ...

    def failure(self, value: Json) -> Failure:
        """The error in the body of a refusal."""
        ...

    def streamed(self, events: Sequence[Event]) -> Said:
        """What a stream says."""
        ...


def events_of(body: str) -> list[Event]:
    """The server-sent events of a body.

    Raises:
        NotOfTheSurface: it does not end with an event.
    """
    *blocks, rest = body.split("\n\n")
    if rest:
        raise NotOfTheSurface(f"the stream ends within an event: {rest[-200:]}")
    return [_event(block) for block in blocks]


def _event(block: str) -> Event:
    fields = dict(line.partition(": ")[::2] for line in block.split("\n"))
    return Event(fields.get("event", ""), fields.get("data", ""))


def parsed(data: str | bytes) -> Json:
    """A JSON object.

    Raises:
        NotOfTheSurface: it is none.
    """
    try:
        value = json.loads(data)
    except ValueError as error:
        raise NotOfTheSurface(f"not JSON: {data[:200]!r}") from error
    if not isinstance(value, dict):
        raise NotOfTheSurface(f"not an object: {data[:200]!r}")
    return value


def _at(value: object, *path: str | int) -> object:
    """The value at `path`; None where there is none."""
    for step in path:
        if isinstance(value, Mapping) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _text(value: object, what: object) -> str:
    if not isinstance(value, str) or not value:
        raise NotOfTheSurface(f"no text where one must be: {str(what)[:300]}")
    return value


def _openai_failure(value: Json) -> Failure:
    error = value.get("error")
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        raise NotOfTheSurface(f"not an error of OpenAI's: {str(value)[:300]}")
    _text(error["type"], value)
    return Failure(_text(error["code"], value), _text(error["message"], value))


class _OpenAIStreams:
    """What chat and completions have in common."""

    _piece: tuple[str | int, ...]

    def failure(self, value: Json) -> Failure:
        """See `Surface`."""
        return _openai_failure(value)

    def streamed(self, events: Sequence[Event]) -> Said:
        """See `Surface`."""
        texts: list[str] = []
        for at, event in enumerate(events):
            last = at == len(events) - 1
            if event.data == "[DONE]":
                if not last:
                    raise NotOfTheSurface("[DONE] is not the last event")
                return Said("".join(texts), True)
            value = parsed(event.data)
            if "error" in value:
                if not last:
                    raise NotOfTheSurface("an error is not the last event")
                return Said("".join(texts), False, _openai_failure(value))
            texts.append(cast(str, _at(value, "choices", 0, *self._piece) or ""))
        return Said("".join(texts), False)


class ChatSurface(_OpenAIStreams):
    """`POST /v1/chat/completions`."""

    name = "chat"
    path = "/v1/chat/completions"
    _piece = ("delta", "content")

    def body(self, model: str, question: str, *, stream: bool) -> Json:
        """See `Surface`."""
        messages = [{"role": "user", "content": question}]
        return {"model": model, "messages": messages, "max_tokens": _TOKENS, "stream": stream}

    def whole(self, value: Json) -> str:
        """See `Surface`."""
        return _text(_at(value, "choices", 0, "message", "content"), value)


class CompletionsSurface(_OpenAIStreams):
    """`POST /v1/completions`."""

    name = "completions"
    path = "/v1/completions"
    _piece = ("text",)

    def body(self, model: str, question: str, *, stream: bool) -> Json:
        """See `Surface`."""
        return {"model": model, "prompt": question, "max_tokens": _TOKENS, "stream": stream}

    def whole(self, value: Json) -> str:
        """See `Surface`."""
        return _text(_at(value, "choices", 0, "text"), value)


class ResponsesSurface:
    """`POST /v1/responses`."""

    name = "responses"
    path = "/v1/responses"

    def body(self, model: str, question: str, *, stream: bool) -> Json:
        """See `Surface`."""
        return {"model": model, "input": question, "max_output_tokens": _TOKENS, "stream": stream}

    def whole(self, value: Json) -> str:
        """See `Surface`."""
        if value.get("status") != "completed":
            raise NotOfTheSurface(f"not completed: {str(value)[:300]}")
        output = value.get("output")
        messages = [
            item
            for item in (output if isinstance(output, list) else [])
            if _at(item, "type") == "message"
        ]
        return _text(_at(messages, 0, "content", 0, "text"), value)

    def failure(self, value: Json) -> Failure:
        """See `Surface`."""
        return _openai_failure(value)

    def streamed(self, events: Sequence[Event]) -> Said:
        """See `Surface`."""
        values = [parsed(event.data) for event in events]
        numbers = [value.get("sequence_number") for value in values]
        if numbers != list(range(len(values))):
            raise NotOfTheSurface(f"events are not numbered in order: {numbers}")
        kinds = [value.get("type") for value in values]
        text = "".join(
            cast(str, value.get("delta"))
            for value in values
            if value.get("type") == "response.output_text.delta"
        )
        last = values[-1] if values else {}
        if "response.failed" in kinds:
            error = _at(last, "response", "error")
            if _at(last, "response", "status") != "failed" or "response.completed" in kinds:
                raise NotOfTheSurface(f"a response that fails and does not: {str(last)[:300]}")
            code = _text(_at(error, "type"), last)
            return Said(text, False, Failure(code, _text(_at(error, "message"), last)))
        ended = kinds[-1:] == ["response.completed"]
        if ended and self.whole(cast(Json, last["response"])) != text:
            raise NotOfTheSurface("the response is not what its deltas amount to")
        return Said(text, ended)


class MessagesSurface:
    """`POST /v1/messages`."""

    name = "messages"
    path = "/v1/messages"

    def body(self, model: str, question: str, *, stream: bool) -> Json:
        """See `Surface`."""
        messages = [{"role": "user", "content": question}]
        return {"model": model, "messages": messages, "max_tokens": _TOKENS, "stream": stream}

    def whole(self, value: Json) -> str:
        """See `Surface`."""
        content = value.get("content")
        blocks = content if isinstance(content, list) else []
        texts = [cast(str, _at(block, "text")) for block in blocks if _at(block, "text")]
        return _text("".join(texts), value)

    def failure(self, value: Json) -> Failure:
        """See `Surface`."""
        error = value.get("error")
        if value.get("type") != "error" or not isinstance(error, dict):
            raise NotOfTheSurface(f"not an error of Anthropic's: {str(value)[:300]}")
        _text(error.get("type"), value)
        code = _text(_at(error, "details", "error_code"), value)
        return Failure(code, _text(error.get("message"), value))

    def streamed(self, events: Sequence[Event]) -> Said:
        """See `Surface`."""
        texts: list[str] = []
        for at, event in enumerate(events):
            value = parsed(event.data)
            if value.get("type") != event.name:
                raise NotOfTheSurface(f"an event of another name: {event}")
            if event.name in ("error", "message_stop") and at != len(events) - 1:
                raise NotOfTheSurface(f"{event.name} is not the last event")
            if event.name == "error":
                return Said("".join(texts), False, self.failure(value))
            if event.name == "content_block_delta":
                texts.append(cast(str, _at(value, "delta", "text") or ""))
        ended = bool(events) and events[-1].name == "message_stop"
        return Said("".join(texts), ended)


SURFACES: tuple[Surface, ...] = (
    ChatSurface(),
    CompletionsSurface(),
    ResponsesSurface(),
    MessagesSurface(),
)
