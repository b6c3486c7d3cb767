"""Vectors from a service with the OpenAI embeddings interface, `POST <base>/embeddings`."""

import asyncio
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import orjson

from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_common.errors import Unavailable
from infermesh_common.resilience import Dependency

if TYPE_CHECKING:
    import aiohttp

_KEEP_ALIVE_S = 60
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
    """Asks the service. Connections are made with the first text.

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
        self._dependency = dependency
        self._timeout_ms = timeout_ms
        self._connect_timeout_s = connect_timeout_ms / 1000
        self._session: aiohttp.ClientSession | None = None
        identity = f"{model.base_url}\n{model.model}\n{model.version}\n{model.max_chars}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:_SHOWN_HEX]
        self._space = EmbeddingSpace(f"{model.model}@{digest}", model.dimension)

    @property
    def space(self) -> EmbeddingSpace:
        """Of this service, model and version."""
        return self._space

    async def vectors(self, texts: Sequence[str]) -> Floats:
        """See `TextVectors.vectors`."""
        import aiohttp

        # Services refuse an empty text.
        inputs = [text[: self._model.max_chars] or " " for text in texts]
        body = orjson.dumps(
            {"model": self._model.model, "input": inputs, "encoding_format": "float"}
        )
        data = await self._dependency.call(
            lambda: self._post(body, len(texts)),
            timeout_ms=self._timeout_ms,
            failures=(aiohttp.ClientError, OSError, asyncio.IncompleteReadError),
        )
        return _parsed(data, len(texts), self._model.dimension)

    async def close(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, body: bytes, texts: int) -> bytes:
        limit = _HEAD_BYTES + texts * self._model.dimension * _BYTES_PER_NUMBER
        async with self._connected().post(
            self._model.base_url + "/embeddings",
            data=body,
            headers={"content-type": "application/json", **self._model.headers},
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                # Its text may hold the prompt.
                raise Unavailable(
                    "EMBEDDING_SERVICE_REFUSED",
                    f"The embedding service answered with status {response.status}.",
                )
            pieces: list[bytes] = []
            size = 0
            async for piece in response.content.iter_any():
                size += len(piece)
                if size > limit:
                    raise _malformed("is too large")
                pieces.append(piece)
            return b"".join(pieces)

    def _connected(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


def _malformed(what: str) -> Unavailable:
    return Unavailable("EMBEDDING_ANSWER_MALFORMED", f"The embedding service's answer {what}.")


def _parsed(data: bytes, texts: int, dimension: int) -> Floats:
    """The vectors, by their index.

    Raises:
        Unavailable: EMBEDDING_ANSWER_MALFORMED.
    """
    try:
        # Not orjson: llama.cpp writes vectors of no number as NaN or null, and says so.
        rows = json.loads(data)["data"]
        vectors = np.full((texts, dimension), math.nan, np.float32)
        if len(rows) != texts or {row["index"] for row in rows} != set(range(texts)):
            raise _malformed("holds another number of vectors")
        for row in rows:
            numbers = np.asarray(row["embedding"], dtype=np.float32)
            if numbers.shape != (dimension,):
                raise _malformed(f"holds a vector that has not {dimension} numbers")
            vectors[row["index"]] = numbers
    except (ValueError, KeyError, TypeError) as error:
        raise _malformed("is not of the form") from error
    return vectors
