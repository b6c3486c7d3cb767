"""OpenAI's own wires for chat and embeddings: nothing to translate.

Source: OpenAI API reference, "Chat" and "Embeddings".
"""

from collections.abc import Sequence

import orjson

from infermesh_common.errors import InfermeshError
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import (
    JsonObject,
    Surface,
    parse_chat,
    parse_embeddings,
    parse_model,
)
from infermesh_router.domain.surfaces.openai_errors import openai_error
from infermesh_router.domain.surfaces.wire import Asked

_DONE = b"data: [DONE]\n\n"


class ChatWriter:
    """Implements `AnswerWriter`.

    Args:
        include_usage: whether the client asked for the chunk that has the usage and no choices.
    """

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage

    def whole(self, answer: Answer) -> bytes:
        """See `AnswerWriter.whole`."""
        return answer.data

    def chunks(self, chunks: Sequence[Chunk]) -> bytes:
        """See `AnswerWriter.chunks`."""
        return b"".join(
            b"data: " + chunk.data + b"\n\n"
            for chunk in chunks
            if self._include_usage or not _is_usage_only(chunk.value)
        )

    def end(self) -> bytes:
        """See `AnswerWriter.end`."""
        return _DONE

    def failure(self, error: InfermeshError) -> bytes:
        """See `AnswerWriter.failure`."""
        return b"data: " + orjson.dumps(openai_error(error)) + b"\n\n"


class ChatWire:
    """Implements `Wire`: `POST /v1/chat/completions`."""

    name = "openai.chat"
    surface = Surface.CHAT

    def read(self, body: JsonObject) -> Asked:
        """See `Wire.read`."""
        stream = parse_chat(body)
        return Asked(body, parse_model(body), stream)

    def writer(self, body: JsonObject) -> ChatWriter:
        """See `Wire.writer`."""
        options = body.get("stream_options")
        usage = isinstance(options, dict) and bool(options.get("include_usage"))
        return ChatWriter(include_usage=usage)


class EmbeddingsWire:
    """Implements `Wire`: `POST /v1/embeddings`."""

    name = "openai.embeddings"
    surface = Surface.EMBEDDINGS

    def read(self, body: JsonObject) -> Asked:
        """See `Wire.read`."""
        parse_embeddings(body)
        return Asked(body, parse_model(body))

    def writer(self, body: JsonObject) -> ChatWriter:
        """See `Wire.writer`."""
        return ChatWriter(include_usage=False)


def _is_usage_only(chunk: JsonObject) -> bool:
    return chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)
