"""Vectors from a service with the OpenAI embeddings interface, `POST <base>/embeddings`."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson

from infermesh_cache.adapters.outbound.json_service import JsonService
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_common.errors import InvalidArgument, Unavailable
from infermesh_common.resilience import Dependency

_SHOWN_HEX = 12
_BYTES_PER_NUMBER = 32
"""Longest text of a number in an answer, with what is between numbers."""
_HEAD_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model of an embedding service.

    Attributes:
        base_url: up to before `/embeddings`, for example "https://api.example.com/v1".
        model: name that the service knows it by.
        dimension: of its vectors.
        version: of the model, as far as its operator tells; a change starts a new space.
        max_chars: longer texts are cut to this many characters.
        headers: sent with each request, the API key among them.
    """

    base_url: str
    model: str
    dimension: int
    version: str
    max_chars: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class RemoteVectors:
    """Asks the service.

    Args:
        model: which and where.
        dependency: guards the calls.
        timeout_ms: longest time of a call, in milliseconds.
        connect_timeout_ms: of it for connecting.
    """

    def __init__(
        self,
        model: RemoteModel,
        dependency: Dependency,
        *,
        timeout_ms: int,
        connect_timeout_ms: int,
    ) -> None:
        self._model = model
        self._service = JsonService(
            model.base_url,
            model.headers,
            dependency,
            timeout_ms=timeout_ms,
            connect_timeout_ms=connect_timeout_ms,
        )
        identity = f"{model.base_url}\n{model.model}\n{model.version}\n{model.max_chars}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:_SHOWN_HEX]
        self._space = EmbeddingSpace(f"{model.model}@{digest}", model.dimension)

    @property
    def space(self) -> EmbeddingSpace:
        """Of this service, model and version."""
        return self._space

    async def vectors(self, texts: Sequence[str]) -> Floats:
        """See `TextVectors.vectors`."""
        # Services refuse an empty text.
        inputs = [text[: self._model.max_chars] or " " for text in texts]
        body = orjson.dumps(
            {"model": self._model.model, "input": inputs, "encoding_format": "float"}
        )
        limit = _HEAD_BYTES + len(texts) * self._model.dimension * _BYTES_PER_NUMBER
        try:
            data = await self._service.post("/embeddings", body, most_bytes=limit)
        except InvalidArgument as error:
            raise Unavailable("EMBEDDING_SERVICE_REFUSED", error.message) from error
        try:
            return _parsed(data, len(texts), self._model.dimension)
        except _Malformed as error:
            raise self._service.malformed(str(error)) from error

    async def close(self) -> None:
        """Closes every connection."""
        await self._service.close()


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
