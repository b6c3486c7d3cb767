"""Streamed answers in OpenAI's chat form, as events of the Messages wire.

Order: message_start; for each block content_block_start, content_block_delta...,
content_block_stop; message_delta; message_stop.
"""

from collections.abc import Sequence

from infermesh_common.errors import InfermeshError
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import JsonObject
from infermesh_router.domain.surfaces.anthropic import answer as whole
from infermesh_router.domain.surfaces.anthropic.errors import anthropic_error
from infermesh_router.domain.surfaces.blocks import Block, BlockSequence, Kind
from infermesh_router.domain.surfaces.chat_answer import (
    Head,
    Listener,
    delta_of,
    dump,
    event,
    head_of,
)

_DELTAS = {
    Kind.THINKING: ("thinking_delta", "thinking"),
    Kind.TEXT: ("text_delta", "text"),
    Kind.REFUSAL: ("text_delta", "text"),
    Kind.CALL: ("input_json_delta", "partial_json"),
}


class MessageWriter:
    """Implements `AnswerWriter`, and `BlockSink` for its own stream.

    Args:
        model: stands in where the answer names none.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._head: Head | None = None
        self._blocks = BlockSequence(self)
        self._heard = Listener()
        self._refused = False
        self._out: list[bytes] = []

    def whole(self, answer: Answer) -> bytes:
        """See `AnswerWriter.whole`."""
        return dump(whole.message(answer.value, self._model))

    def chunks(self, chunks: Sequence[Chunk]) -> bytes:
        """See `AnswerWriter.chunks`."""
        for chunk in chunks:
            self._add(chunk.value)
        return self._taken()

    def end(self) -> bytes:
        """See `AnswerWriter.end`."""
        self._blocks.finish()
        ending = self._heard.ending()
        delta = whole.stop(ending, refused=self._refused)
        self._write("message_delta", delta=delta, usage=whole.usage(ending.usage))
        self._write("message_stop")
        return self._taken()

    def failure(self, error: InfermeshError) -> bytes:
        """See `AnswerWriter.failure`."""
        return self._taken() + event("error", anthropic_error(error))

    def opened(self, block: Block) -> None:
        """See `BlockSink.opened`."""
        self._write("content_block_start", index=block.number, content_block=self._empty(block))

    def grew(self, block: Block, piece: str) -> None:
        """See `BlockSink.grew`."""
        kind, name = _DELTAS[block.kind]
        self._write("content_block_delta", index=block.number, delta={"type": kind, name: piece})

    def closed(self, block: Block) -> None:
        """See `BlockSink.closed`."""
        if block.signature:
            delta = {"type": "signature_delta", "signature": block.signature}
            self._write("content_block_delta", index=block.number, delta=delta)
        self._write("content_block_stop", index=block.number)

    def _add(self, value: JsonObject) -> None:
        said = delta_of(value)
        self._heard.hear(value, said)
        if self._head is None:
            self._head = head_of(value)
            start = whole.opening(self._head, self._model)
            self._write("message_start", message={**start, "usage": whole.usage(self._heard.usage)})
        if said is not None:
            self._refused = self._refused or bool(said.refusal)
            self._blocks.add(said)

    def _empty(self, block: Block) -> dict[str, object]:
        if block.kind is Kind.CALL:
            call_id = whole.call_id(self._head or Head(), block.call_id, block.number)
            return {"type": "tool_use", "id": call_id, "name": block.name, "input": {}}
        if block.kind is Kind.THINKING:
            return {"type": "thinking", "thinking": "", "signature": ""}
        if block.kind is Kind.REDACTED:
            return {"type": "redacted_thinking", "data": block.data}
        return {"type": "text", "text": ""}

    def _write(self, kind: str, **fields: object) -> None:
        self._out.append(event(kind, {"type": kind, **fields}))

    def _taken(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data
