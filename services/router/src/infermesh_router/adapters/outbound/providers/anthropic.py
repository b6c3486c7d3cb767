"""Anthropic's Messages wire. Source: Claude API reference, "Messages" and "Streaming messages"."""

from collections.abc import Mapping

import orjson

from infermesh_common.errors import InfermeshError
from infermesh_common.resources.types import Model, ProviderSpec
from infermesh_router.adapters.outbound.providers.anthropic_answer import read_answer
from infermesh_router.adapters.outbound.providers.anthropic_content import PROTOCOL
from infermesh_router.adapters.outbound.providers.anthropic_request import request_body
from infermesh_router.adapters.outbound.providers.anthropic_stream import AnthropicStream
from infermesh_router.adapters.outbound.providers.dialect import Call
from infermesh_router.adapters.outbound.providers.errors import from_response
from infermesh_router.adapters.outbound.providers.parameters import unsupported
from infermesh_router.domain.answer import Answer
from infermesh_router.domain.request import JsonObject, Surface

_KEY_HEADER = "x-api-key"
_VERSION_HEADER = "anthropic-version"
# The later version 2026-10-21 takes no temperature, top_p or top_k.
_VERSION = "2023-06-01"


class AnthropicDialect:
    """Implements `Dialect`."""

    def call(self, model: Model, surface: Surface, body: JsonObject, *, stream: bool) -> Call:
        """See `Dialect.call`."""
        if surface is not Surface.CHAT:
            raise unsupported("input", PROTOCOL, f"{PROTOCOL} has no embeddings.")
        sent = request_body(model.spec, body, stream=stream)
        return Call("/messages", orjson.dumps(sent), headers={_VERSION_HEADER: _VERSION})

    def headers(self, spec: ProviderSpec, url: str, call: Call, secret: str) -> Mapping[str, str]:
        """See `Dialect.headers`. An `authHeader` other than the default takes the key's place."""
        name = spec.auth_header.lower()
        proof = {_KEY_HEADER if name == "authorization" else name: secret}
        for header, value in spec.headers.items():
            # An operator's choice of the version holds.
            if header.lower() == _VERSION_HEADER:
                proof[header] = value
        return proof

    def answer(self, surface: Surface, body: JsonObject, data: bytes) -> Answer:
        """See `Dialect.answer`."""
        return read_answer(data)

    def stream(self, body: JsonObject, max_event_bytes: int) -> AnthropicStream:
        """See `Dialect.stream`."""
        return AnthropicStream(max_event_bytes)

    def error(
        self, provider: str, status: int, headers: Mapping[str, str], data: bytes
    ) -> InfermeshError:
        """See `Dialect.error`."""
        return from_response(provider, status, headers, data)
