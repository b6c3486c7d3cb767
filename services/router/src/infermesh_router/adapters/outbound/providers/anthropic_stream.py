"""Streams in Anthropic's form. Source: Claude API reference, "Streaming messages"."""

from collections.abc import Callable

import orjson

from infermesh_router.adapters.outbound.providers.anthropic_answer import (
    ending,
    head,
    text_in,
    usage_of_message,
)
from infermesh_router.adapters.outbound.providers.errors import reported
from infermesh_router.domain.answer import Chunk, Payload, broken
from infermesh_router.domain.request import JsonObject
from infermesh_router.domain.sse import EventDecoder


class _Block:
    """A content block under way.

    Args:
        kind: its type.
        index: which of the message's thoughts, or calls of tools, it is.
        arguments: of the tool, as far as they came with the start.
    """

    __slots__ = ("kind", "index", "arguments", "has_arguments")

    def __init__(self, kind: str, index: int, arguments: str = "") -> None:
        self.kind = kind
        self.index = index
        self.arguments = arguments
        self.has_arguments = False


class AnthropicStream:
    """Implements `AnswerStream`; the last event is `message_stop`. Events and blocks of unknown
    kinds are passed over, as the API's versioning demands."""

    def __init__(self, max_event_bytes: int) -> None:
        self._decoder = EventDecoder(max_event_bytes)
        self._head: dict[str, object] | None = None
        self._usage: dict[str, object] = {}
        self._blocks: dict[int, _Block] = {}
        self._thoughts = 0
        self._calls = 0
        self._finished = False
        self.ended = False
        self._handlers: dict[object, Callable[[JsonObject], list[Chunk]]] = {
            "message_start": self._start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._delta,
            "message_stop": self._stop,
        }

    def feed(self, piece: bytes) -> list[Chunk]:
        """See `AnswerStream.feed`."""
        chunks: list[Chunk] = []
        for data in self._decoder.feed(piece):
            chunks += self._read(Payload(data).value)
            if self.ended:
                break
        return chunks

    def _read(self, event: JsonObject) -> list[Chunk]:
        kind = event.get("type")
        if kind == "error":
            raise reported(event)
        if not isinstance(kind, str):
            raise broken("an event has no type")
        handler = self._handlers.get(kind)
        return handler(event) if handler is not None else []

    def _start(self, event: JsonObject) -> list[Chunk]:
        message = event.get("message")
        if not isinstance(message, dict) or self._head is not None:
            raise broken("the message does not begin, or begins twice")
        self._head = {**head(message), "object": "chat.completion.chunk"}
        self._count(message)
        return [self._chunk({"role": "assistant", "content": ""})]

    def _block_start(self, event: JsonObject) -> list[Chunk]:
        index, block = event.get("index"), event.get("content_block")
        if not isinstance(index, int) or not isinstance(block, dict):
            raise broken("a block of content does not begin")
        kind = block.get("type")
        if kind == "tool_use":
            given = block.get("input")
            arguments = orjson.dumps(given).decode() if isinstance(given, dict) else "{}"
            self._blocks[index] = _Block(kind, self._calls, arguments)
            self._calls += 1
            function = {"name": text_in(block, "name"), "arguments": ""}
            call = {"id": text_in(block, "id"), "type": "function", "function": function}
            return [self._call(self._blocks[index], call)]
        number = self._thoughts
        self._blocks[index] = _Block(str(kind), number)
        if kind == "text":
            text = text_in(block, "text")
            return [self._chunk({"content": text})] if text else []
        if kind == "redacted_thinking":
            self._thoughts += 1
            return [self._thought(self._blocks[index], data=text_in(block, "data"))]
        if kind == "thinking":
            self._thoughts += 1
            return self._thinking(self._blocks[index], text_in(block, "thinking"))
        return []

    def _block_delta(self, event: JsonObject) -> list[Chunk]:
        block, delta = self._block(event), event.get("delta")
        if not isinstance(delta, dict):
            raise broken("a piece of content is not an object")
        kind = delta.get("type")
        if kind == "text_delta":
            return [self._chunk({"content": text_in(delta, "text")})]
        if kind == "thinking_delta":
            return self._thinking(block, text_in(delta, "thinking"))
        if kind == "signature_delta":
            signature = text_in(delta, "signature")
            return [self._thought(block, thinking="", signature=signature)]
        if kind == "input_json_delta" and block.kind == "tool_use":
            arguments = text_in(delta, "partial_json")
            block.has_arguments = block.has_arguments or bool(arguments)
            return self._arguments(block, arguments)
        return []

    def _block_stop(self, event: JsonObject) -> list[Chunk]:
        block = self._block(event)
        if block.kind != "tool_use" or block.has_arguments:
            return []
        # The arguments of a call are JSON, also where it has none.
        return self._arguments(block, block.arguments)

    def _block(self, event: JsonObject) -> _Block:
        index = event.get("index")
        block = self._blocks.get(index) if isinstance(index, int) else None
        if block is None:
            raise broken("a piece of content belongs to no block")
        return block

    def _arguments(self, block: _Block, text: str) -> list[Chunk]:
        return [self._call(block, {"function": {"arguments": text}})] if text else []

    def _call(self, block: _Block, call: JsonObject) -> Chunk:
        return self._chunk({"tool_calls": [{"index": block.index, **call}]})

    def _thinking(self, block: _Block, text: str) -> list[Chunk]:
        if not text:
            return []
        thought = {"index": block.index, "type": "thinking", "thinking": text}
        return [self._chunk({"reasoning_content": text, "thinking_blocks": [thought]})]

    def _thought(self, block: _Block, **fields: str) -> Chunk:
        thought = {"index": block.index, "type": block.kind, **fields}
        return self._chunk({"thinking_blocks": [thought]})

    def _delta(self, event: JsonObject) -> list[Chunk]:
        self._count(event)
        delta = event.get("delta")
        ended = ending(delta) if isinstance(delta, dict) else {}
        if ended.get("finish_reason") is None:
            return []
        self._finished = True
        return [self._chunk({}, **ended)]

    def _stop(self, event: JsonObject) -> list[Chunk]:
        if not self._finished:
            raise broken("the message stops without a reason")
        self.ended = True
        usage = usage_of_message(self._usage) if self._usage else None
        return [Chunk(value={**self._begun(), "choices": [], "usage": usage})]

    def _count(self, holder: JsonObject) -> None:
        """Counts are cumulative: what comes later replaces what came before."""
        usage = holder.get("usage")
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _begun(self) -> dict[str, object]:
        if self._head is None:
            raise broken("the message has not begun")
        return self._head

    def _chunk(self, delta: JsonObject, **ended: object) -> Chunk:
        choice = {"index": 0, "delta": delta, "finish_reason": None, **ended}
        return Chunk(value={**self._begun(), "choices": [choice]})
