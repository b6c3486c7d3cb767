"""Vectors from a service with the OpenAI embeddings interface, `POST <base>/embeddings`."""

import hashlib
import json
import math
from collections.abc import Sequence

import numpy as np
import orjson

from infermesh_cache.adapters.outbound.json_service import JsonService
from infermesh_cache.embedding_settings import RemoteModelSettings
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_common.errors import InvalidArgument, Unavailable
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics

_SHOWN_HEX = 12
_BYTES_PER_NUMBER = 32
"""Longest text of a number in an answer, with what is between numbers."""
_HEAD_BYTES = 65_536


class RemoteVectors:
    """Asks the service.

    Args:
        service: is asked.
        settings: which model and where.
        max_chars: longer texts are cut to this many characters.
    """

    def __init__(self, service: JsonService, settings: RemoteModelSettings, max_chars: int) -> None:
        self._service = service
        self._model = settings.model
        self._max_chars = max_chars
        parts = (settings.base_url, settings.model, settings.version, str(max_chars))
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_SHOWN_HEX]
        self._space = EmbeddingSpace(f"{settings.model}@{digest}", settings.dimension)

    @property
    def space(self) -> EmbeddingSpace:
        """Of this service, model and version."""
        return self._space

    async def vectors(self, texts: Sequence[str]) -> Floats:
        """See `TextVectors.vectors`."""
        # Services refuse an empty text.
        inputs = [text[: self._max_chars] or " " for text in texts]
        body = orjson.dumps({"model": self._model, "input": inputs, "encoding_format": "float"})
        dimension = self._space.dimension
        limit = _HEAD_BYTES + len(texts) * dimension * _BYTES_PER_NUMBER
        try:
            data = await self._service.post("/embeddings", body, most_bytes=limit)
        except InvalidArgument as error:
            raise Unavailable("EMBEDDING_SERVICE_REFUSED", error.message) from error
        try:
            return _parsed(data, len(texts), dimension)
        except _Malformed as error:
            raise self._service.malformed(str(error)) from error

    async def close(self) -> None:
        """Closes every connection."""
        await self._service.close()


async def create_remote_vectors(
    settings: RemoteModelSettings, max_chars: int, breaker: BreakerSettings, metrics: Metrics
) -> RemoteVectors:
    """The model; to be closed by the caller.

    Args:
        settings: which model and where.
        max_chars: longer texts are cut to this many characters.
        breaker: when it is left alone.
        metrics: of the process.

    Raises:
        SettingsError: the file of the API key cannot be read.
    """
    service = await JsonService.of_model("embedding", settings, breaker, metrics)
    return RemoteVectors(service, settings, max_chars)


class _Malformed(Exception):
    """An answer of another form; says what is wrong with it."""


def _parsed(data: bytes, texts: int, dimension: int) -> Floats:
    """The vectors, by their index.

    Raises:
        _Malformed: it holds others, or none.
    """
    try:
        # Not orjson: llama.cpp writes vectors of no number as NaN or null, and says so.
        rows = json.loads(data)["data"]
        vectors = np.full((texts, dimension), math.nan, np.float32)
        if len(rows) != texts or {row["index"] for row in rows} != set(range(texts)):
            raise _Malformed("holds another number of vectors")
        for row in rows:
            numbers = np.asarray(row["embedding"], dtype=np.float32)
            if numbers.shape != (dimension,):
                raise _Malformed(f"holds a vector that has not {dimension} numbers")
            vectors[row["index"]] = numbers
    except (ValueError, KeyError, TypeError) as error:
        raise _Malformed("is not of the form") from error
    return vectors
