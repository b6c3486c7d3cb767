"""Streams in Converse's form: `application/vnd.amazon.eventstream`, decoded by botocore.

Source: Amazon Bedrock API reference, "ConverseStream".
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from infermesh_common.errors import ResourceExhausted
from infermesh_router.adapters.outbound.providers.bedrock_answer import (
    ending,
    head,
    text_in,
    usage_of_response,
)
from infermesh_router.adapters.outbound.providers.errors import reported
from infermesh_router.domain.answer import Chunk, Payload, broken
from infermesh_router.domain.request import JsonObject
from infermesh_router.domain.sse import EventTooLarge

if TYPE_CHECKING:
    from botocore.eventstream import EventStreamMessage

_THROTTLED = "throttlingException"


class BedrockStream:
    """Implements `AnswerStream`; the last event is `metadata`. Events of unknown kinds are passed
    over."""

    def __init__(self, body: JsonObject, max_event_bytes: int) -> None:
        # With the first stream: see `bedrock_signing`.
        from botocore.eventstream import EventStreamBuffer, ParserError

        self._buffer = EventStreamBuffer()
        self._parser_error = ParserError
        self._max_event_bytes = max_event_bytes
        self._undecoded_bytes = 0
        self._head = {**head(body), "object": "chat.completion.chunk"}
        self._calls: dict[int, int] = {}
        self._silent_calls: set[int] = set()
        self._thoughts: dict[int, int] = {}
        self._finished = False
        self.ended = False
        self._handlers: dict[str, Callable[[JsonObject], list[Chunk]]] = {
            "messageStart": self._start,
            "contentBlockStart": self._block_start,
            "contentBlockDelta": self._block_delta,
            "contentBlockStop": self._block_stop,
            "messageStop": self._stop,
            "metadata": self._metadata,
        }

    def feed(self, piece: bytes) -> list[Chunk]:
        """See `AnswerStream.feed`."""
        self._undecoded_bytes += len(piece)
        chunks: list[Chunk] = []
        try:
            self._buffer.add_data(piece)
            for message in self._buffer:
                self._undecoded_bytes = 0
                chunks += self._read(message)
                if self.ended:
                    return chunks
        except self._parser_error as error:
            raise broken("the provider's stream is not one of events") from error
        if self._undecoded_bytes > self._max_event_bytes:
            raise EventTooLarge
        return chunks

    def _read(self, message: "EventStreamMessage") -> list[Chunk]:
        headers = cast(Mapping[str, str], message.headers)
        if headers.get(":message-type") == "error":
            # Of the connection, not of the API: there is no payload.
            said = {"message": headers.get(":error-message"), "code": headers.get(":error-code")}
            raise reported(said)
        payload = Payload(message.payload).value
        if headers.get(":message-type") != "event":
            kind = headers.get(":exception-type")
            if kind == _THROTTLED:
                raise ResourceExhausted(
                    "PROVIDER_RATE_LIMITED", "The provider limits the rate in its stream."
                )
            raise reported({"type": kind, **payload})
        handler = self._handlers.get(headers.get(":event-type", ""))
        return handler(payload) if handler is not None else []

    def _start(self, event: JsonObject) -> list[Chunk]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def _block_start(self, event: JsonObject) -> list[Chunk]:
        index, start = _index(event), event.get("start")
        use = start.get("toolUse") if isinstance(start, dict) else None
        if not isinstance(use, dict):
            return []
        self._calls[index] = len(self._calls)
        self._silent_calls.add(index)
        function = {"name": text_in(use, "name"), "arguments": ""}
        call = {"id": text_in(use, "toolUseId"), "type": "function", "function": function}
        return [self._call(index, call)]

    def _block_delta(self, event: JsonObject) -> list[Chunk]:
        index, delta = _index(event), event.get("delta")
        if not isinstance(delta, dict):
            raise broken("a piece of content is not an object")
        if "text" in delta:
            return [self._chunk({"content": text_in(delta, "text")})]
        if isinstance(use := delta.get("toolUse"), dict):
            if index not in self._calls:
                raise broken("a piece of a call belongs to none")
            arguments = text_in(use, "input")
            if arguments:
                self._silent_calls.discard(index)
            return [self._call(index, {"function": {"arguments": arguments}})]
        if isinstance(reasoning := delta.get("reasoningContent"), dict):
            return self._reasoning(index, reasoning)
        return []

    def _block_stop(self, event: JsonObject) -> list[Chunk]:
        index = _index(event)
        if index not in self._silent_calls:
            return []
        # The arguments of a call are JSON, also where it has none.
        return [self._call(index, {"function": {"arguments": "{}"}})]

    def _reasoning(self, index: int, reasoning: JsonObject) -> list[Chunk]:
        number = self._thoughts.setdefault(index, len(self._thoughts))
        if "text" in reasoning:
            text = text_in(reasoning, "text")
            thought = {"index": number, "type": "thinking", "thinking": text}
            return [self._chunk({"reasoning_content": text, "thinking_blocks": [thought]})]
        if "signature" in reasoning:
            signed = {"thinking": "", "signature": text_in(reasoning, "signature")}
            thought = {"index": number, "type": "thinking", **signed}
            return [self._chunk({"thinking_blocks": [thought]})]
        if "redactedContent" in reasoning:
            data = text_in(reasoning, "redactedContent")
            thought = {"index": number, "type": "redacted_thinking", "data": data}
            return [self._chunk({"thinking_blocks": [thought]})]
        return []

    def _stop(self, event: JsonObject) -> list[Chunk]:
        self._finished = True
        return [self._chunk({}, **ending(event))]

    def _metadata(self, event: JsonObject) -> list[Chunk]:
        if not self._finished:
            raise broken("the message stops without a reason")
        self.ended = True
        usage = usage_of_response(event.get("usage"))
        return [Chunk(value={**self._head, "choices": [], "usage": usage})]

    def _call(self, index: int, call: JsonObject) -> Chunk:
        return self._chunk({"tool_calls": [{"index": self._calls[index], **call}]})

    def _chunk(self, delta: JsonObject, **ended: object) -> Chunk:
        choice = {"index": 0, "delta": delta, "finish_reason": None, **ended}
        return Chunk(value={**self._head, "choices": [choice]})


def _index(event: JsonObject) -> int:
    index = event.get("contentBlockIndex")
    if not isinstance(index, int):
        raise broken("a piece of content belongs to no block")
    return index
