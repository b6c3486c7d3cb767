"""Google's Gemini wire: the Gemini API and Vertex AI. Source: Gemini API reference,
"generateContent", "Embeddings"."""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import orjson

from infermesh_common.errors import InfermeshError
from infermesh_common.resources.types import Model, ProviderSpec
from infermesh_router.adapters.outbound.providers.dialect import Call
from infermesh_router.adapters.outbound.providers.gemini_answer import read_answer
from infermesh_router.adapters.outbound.providers.gemini_embeddings import (
    embeddings_body,
    read_embeddings,
)
from infermesh_router.adapters.outbound.providers.gemini_errors import error_of
from infermesh_router.adapters.outbound.providers.gemini_request import request_body
from infermesh_router.adapters.outbound.providers.gemini_stream import GeminiStream
from infermesh_router.domain.answer import Answer
from infermesh_router.domain.request import JsonObject, Surface

_KEY_HEADER = "x-goog-api-key"
_VERTEX_HOST = "aiplatform.googleapis.com"


class GeminiDialect:
    """Implements `Dialect`."""

    def call(self, model: Model, surface: Surface, body: JsonObject, *, stream: bool) -> Call:
        """See `Dialect.call`."""
        name = _resource(model.spec.upstream_model)
        path = f"/{quote(name, safe='/')}"
        if surface is Surface.EMBEDDINGS:
            return Call(f"{path}:batchEmbedContents", orjson.dumps(embeddings_body(name, body)))
        sent = orjson.dumps(request_body(model.spec, body))
        if stream:
            return Call(f"{path}:streamGenerateContent", sent, query={"alt": "sse"})
        return Call(f"{path}:generateContent", sent)

    def headers(self, spec: ProviderSpec, url: str, call: Call, secret: str) -> Mapping[str, str]:
        """See `Dialect.headers`. An `authHeader` other than the default takes the key's place;
        without one, Vertex AI gets an access token, and the Gemini API a key."""
        name = spec.auth_header.lower()
        if name != "authorization":
            return {name: secret}
        if (urlsplit(spec.base_url).hostname or "").endswith(_VERTEX_HOST):
            return {name: f"Bearer {secret}"}
        return {_KEY_HEADER: secret}

    def answer(self, surface: Surface, body: JsonObject, data: bytes) -> Answer:
        """See `Dialect.answer`."""
        if surface is Surface.EMBEDDINGS:
            return read_embeddings(body, data)
        return read_answer(data)

    def stream(self, body: JsonObject, max_event_bytes: int) -> GeminiStream:
        """See `Dialect.stream`."""
        wanted = body.get("n")
        return GeminiStream(max_event_bytes, wanted if isinstance(wanted, int) else 1)

    def error(
        self, provider: str, status: int, headers: Mapping[str, str], data: bytes
    ) -> InfermeshError:
        """See `Dialect.error`."""
        return error_of(provider, status, headers, data)


def _resource(name: str) -> str:
    """The path of a model: a name with slashes (tunedModels/...) is one already."""
    return name if "/" in name else f"models/{name}"
