"""OpenAI's wire: OpenAI, Azure deployments, Mistral, vLLM, Ollama, OpenRouter, local servers.

Source: OpenAI API reference, "Chat" and "Embeddings". What servers of this family do otherwise is
in `docs/providers.md`.
"""

from collections.abc import Mapping

import orjson

from infermesh_common.errors import InfermeshError
from infermesh_common.resources.types import Model, ProviderSpec
from infermesh_router.adapters.outbound.providers.dialect import Call
from infermesh_router.adapters.outbound.providers.errors import from_response
from infermesh_router.adapters.outbound.providers.openai_answer import ChunkReader, read_answer
from infermesh_router.adapters.outbound.providers.openai_request import without_extensions
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import JsonObject, Surface
from infermesh_router.domain.sse import EventDecoder

_PATHS = {Surface.CHAT: "/chat/completions", Surface.EMBEDDINGS: "/embeddings"}
_DONE = b"[DONE]"


class OpenAIDialect:
    """Implements `Dialect`; bodies are passed on as they are, but for the model's name and for
    extensions that others than OpenAI have given them."""

    def call(self, model: Model, surface: Surface, body: JsonObject, *, stream: bool) -> Call:
        """See `Dialect.call`."""
        sent = without_extensions(body) if surface is Surface.CHAT else {**body}
        sent["model"] = model.spec.upstream_model
        if "reasoning" in model.spec.capabilities and "max_tokens" in sent:
            # OpenAI's reasoning models refuse the older name, which other surfaces and wires use.
            limit = sent.pop("max_tokens")
            sent.setdefault("max_completion_tokens", limit)
        if stream:
            # The ledger needs the usage, whether or not the client wants to see it.
            options = body.get("stream_options")
            sent["stream"] = True
            sent["stream_options"] = {
                **(options if isinstance(options, dict) else {}),
                "include_usage": True,
            }
        return Call(_PATHS[surface], orjson.dumps(sent))

    def headers(self, spec: ProviderSpec, url: str, call: Call, secret: str) -> Mapping[str, str]:
        """See `Dialect.headers`."""
        bearer = spec.auth_header.lower() == "authorization"
        return {spec.auth_header: f"Bearer {secret}" if bearer else secret}

    def answer(self, surface: Surface, body: JsonObject, data: bytes) -> Answer:
        """See `Dialect.answer`."""
        return read_answer(surface, Answer(data))

    def stream(self, body: JsonObject, max_event_bytes: int) -> "OpenAIStream":
        """See `Dialect.stream`."""
        return OpenAIStream(max_event_bytes)

    def error(
        self, provider: str, status: int, headers: Mapping[str, str], data: bytes
    ) -> InfermeshError:
        """See `Dialect.error`."""
        return from_response(provider, status, headers, data)


class OpenAIStream:
    """Implements `AnswerStream`: every event but `[DONE]` is a chunk."""

    def __init__(self, max_event_bytes: int) -> None:
        self._decoder = EventDecoder(max_event_bytes)
        self._reader = ChunkReader()
        self.ended = False

    def feed(self, piece: bytes) -> list[Chunk]:
        """See `AnswerStream.feed`."""
        chunks: list[Chunk] = []
        for data in self._decoder.feed(piece):
            if data.rstrip() == _DONE:
                self.ended = True
                break
            chunks.append(self._reader.read(Chunk(data)))
        return chunks
