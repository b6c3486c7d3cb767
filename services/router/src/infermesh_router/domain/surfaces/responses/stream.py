"""Streamed answers in OpenAI's chat form, as events of the Responses wire.

Order: response.created, response.in_progress; for each item output_item.added, its parts and
deltas, output_item.done; response.completed (or response.incomplete). A stream that fails ends with
response.failed.
"""

from collections.abc import Sequence

from infermesh_common.errors import InfermeshError, InvalidArgument, ResourceExhausted
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import JsonObject
from infermesh_router.domain.surfaces.blocks import Block, BlockSequence, Kind
from infermesh_router.domain.surfaces.chat_answer import (
    Head,
    Listener,
    ToolCall,
    delta_of,
    dump,
    event,
    head_of,
)
from infermesh_router.domain.surfaces.responses.answer import (
    ItemKey,
    JsonItem,
    ResponseObject,
    call_item,
    message_item,
    refusal_part,
    status_of,
    text_part,
)

# Event and field of what a block grows by, and of the whole of it.
_GROWTH = {
    Kind.THINKING: ("response.reasoning_text", "text"),
    Kind.TEXT: ("response.output_text", "text"),
    Kind.REFUSAL: ("response.refusal", "refusal"),
    Kind.CALL: ("response.function_call_arguments", "arguments"),
}
_ERROR_CODES: dict[type[InfermeshError], str] = {
    InvalidArgument: "invalid_prompt",
    ResourceExhausted: "rate_limit_exceeded",
}


class ResponseWriter:
    """Implements `AnswerWriter`, and `BlockSink` for its own stream.

    Args:
        body: the request.
        model: stands in where the answer names none.
    """

    def __init__(self, body: JsonObject, model: str) -> None:
        self._response = ResponseObject(body, model)
        self._head: Head | None = None
        self._blocks = BlockSequence(self)
        self._heard = Listener()
        self._output: list[JsonItem] = []
        self._item_id: object = None
        self._status = "completed"
        self._sequence = 0
        self._out: list[bytes] = []

    def whole(self, answer: Answer) -> bytes:
        """See `AnswerWriter.whole`."""
        return dump(self._response.whole(answer.value))

    def chunks(self, chunks: Sequence[Chunk]) -> bytes:
        """See `AnswerWriter.chunks`."""
        for chunk in chunks:
            said = delta_of(chunk.value)
            self._heard.hear(chunk.value, said)
            self._begin(head_of(chunk.value))
            if said is not None:
                self._blocks.add(said)
        return self._taken()

    def end(self) -> bytes:
        """See `AnswerWriter.end`."""
        ending = self._heard.ending()
        self._status = status_of(ending)
        self._blocks.finish()
        response = self._response.ended(self._head or Head(), self._output, ending)
        self._write(f"response.{self._status}", response=response)
        return self._taken()

    def failure(self, error: InfermeshError) -> bytes:
        """See `AnswerWriter.failure`."""
        self._begin(Head())
        told = {
            "code": _ERROR_CODES.get(type(error), "server_error"),
            "message": error.message,
            "type": error.reason.lower(),
        }
        head = self._head or Head()
        response = self._response.at("failed", head, self._output, error=told)
        self._write("response.failed", response=response)
        return self._taken()

    def opened(self, block: Block) -> None:
        """See `BlockSink.opened`."""
        item = self._item(block, "in_progress")
        self._item_id = item["id"]
        self._write("response.output_item.added", output_index=block.number, item=item)
        if block.kind is not Kind.CALL and (part := self._part(block, "")) is not None:
            self._on(block, "response.content_part.added", content_index=0, part=part)

    def grew(self, block: Block, piece: str) -> None:
        """See `BlockSink.grew`."""
        kind, _ = _GROWTH[block.kind]
        self._on(block, f"{kind}.delta", **self._place(block), delta=piece)

    def closed(self, block: Block) -> None:
        """See `BlockSink.closed`."""
        if block.kind in _GROWTH:
            kind, name = _GROWTH[block.kind]
            self._on(block, f"{kind}.done", **self._place(block), **{name: block.text})
        if block.kind is not Kind.CALL and (part := self._part(block, block.text)) is not None:
            self._on(block, "response.content_part.done", content_index=0, part=part)
        item = self._item(block, self._status)
        self._output.append(item)
        self._write("response.output_item.done", output_index=block.number, item=item)

    def _begin(self, head: Head) -> None:
        if self._head is not None:
            return
        self._head = head
        for stage in ("created", "in_progress"):
            response = self._response.at("in_progress", head, ())
            self._write(f"response.{stage}", response=response)

    def _key(self, block: Block) -> ItemKey:
        return ItemKey(self._head or Head(), block.number)

    def _item(self, block: Block, status: str) -> JsonItem:
        """The item that a block is; empty while it is in progress."""
        key, begins = self._key(block), status == "in_progress"
        if block.kind in (Kind.THINKING, Kind.REDACTED):
            thought = block.thinking()
            item = self._response.reasoning_item(key, thought)
            return {**item, "content": []} if begins else item
        if block.kind is Kind.CALL:
            arguments = "" if begins else block.text
            return call_item(key, ToolCall(block.call_id, block.name, arguments), status)
        part = None if begins else self._part(block, block.text)
        return message_item(key, [part] if part else [], status)

    def _part(self, block: Block, text: str) -> JsonItem | None:
        if block.kind is Kind.TEXT:
            return text_part(text)
        if block.kind is Kind.REFUSAL:
            return refusal_part(text)
        return {"type": "reasoning_text", "text": text} if block.kind is Kind.THINKING else None

    def _place(self, block: Block) -> JsonItem:
        if block.kind is Kind.CALL:
            return {}
        return {"content_index": 0, **({"logprobs": []} if block.kind is Kind.TEXT else {})}

    def _on(self, block: Block, kind: str, **fields: object) -> None:
        """An event about the inside of the item that is open."""
        self._write(kind, item_id=self._item_id, output_index=block.number, **fields)

    def _write(self, kind: str, **fields: object) -> None:
        value = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        self._out.append(event(kind, value))

    def _taken(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data
