"""Retrieval as a service: documents of tenants are made ready, kept a while, and searched."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cachetools import LRUCache

from infermesh_cache.application.contextual_retriever import (
    ContextualIndex,
    ContextualRetriever,
    Passage,
)
from infermesh_cache.domain.retrieval.documents import ContextualChunk, Document
from infermesh_cache.semantic_ports import EmbeddingEngine, Floats


@dataclass(frozen=True, slots=True)
class RetrievalParts:
    """What is heavy.

    Attributes:
        retriever: finds passages.
        engine: its embeddings.
        close: ends both.
    """

    retriever: ContextualRetriever
    engine: EmbeddingEngine
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Contextualised:
    """Chunks in their context.

    Attributes:
        chunks: document by document.
        vectors: of context and chunk, unit, shape (chunks, dimension); None: not asked for.
        space: of the vectors; empty without.
    """

    chunks: list[ContextualChunk]
    vectors: Floats | None
    space: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """What was found.

    Attributes:
        passages: of each query, best first.
        space: of the embeddings.
        prepared: whether the documents were ready.
    """

    passages: list[list[Passage]]
    space: str
    prepared: bool


class Retrieval:
    """Finds passages in documents that come with the question.

    Args:
        build: makes the heavy parts, at the first call that needs them.
        memory_bytes: of documents kept ready, of all tenants together; the least recently used go.
    """

    def __init__(
        self,
        build: Callable[[], Awaitable[RetrievalParts]],
        *,
        memory_bytes: int,
    ) -> None:
        self._build = build
        self._parts: RetrievalParts | None = None
        self._building = asyncio.Lock()
        # Preparing takes the processor for seconds: one at a time, the others wait their turn.
        self._preparing = asyncio.Lock()
        self._ready: LRUCache[tuple[str, str], ContextualIndex] = LRUCache(memory_bytes, size_of)

    async def contextualise(self, documents: Sequence[Document], *, embed: bool) -> Contextualised:
        """The chunks of documents in their context.

        Raises:
            Unavailable: the embedding model cannot be loaded, or fails.
        """
        parts = await self._loaded()
        chunks = [
            chunk
            for document in documents
            for chunk in await parts.retriever.contextualise(document)
        ]
        if not embed:
            return Contextualised(chunks, None, "")
        async with self._preparing:
            vectors = await parts.retriever.embedded([chunk.text for chunk in chunks])
        return Contextualised(chunks, vectors, parts.engine.space.name)

    async def rank(
        self, tenant: str, documents: Sequence[Document], queries: Sequence[str], limit: int
    ) -> Ranked:
        """The passages of documents that answer each query best.

        Args:
            tenant: whose documents; what is kept ready is found by no other.
            documents: where to look.
            queries: what to look for.
            limit: passages of each query, at most.

        Raises:
            Unavailable: the embedding model cannot be loaded, or fails.
        """
        parts = await self._loaded()
        key = (tenant, _digest(documents))
        index = self._ready.get(key)
        prepared = index is not None
        if index is None:
            async with self._preparing:
                # Somebody before in the queue may have made it.
                index = self._ready.get(key) or await parts.retriever.index(documents)
            if size_of(index) <= self._ready.maxsize:
                self._ready[key] = index
        found = [await parts.retriever.search(index, query, limit) for query in queries]
        return Ranked(found, parts.engine.space.name, prepared)

    async def close(self) -> None:
        """Ends what was built."""
        if self._parts is not None:
            await self._parts.close()

    async def _loaded(self) -> RetrievalParts:
        async with self._building:
            if self._parts is None:
                self._parts = await self._build()
            return self._parts


def size_of(index: ContextualIndex) -> int:
    """Bytes that an index takes, about: its vectors, and its texts in themselves and as words."""
    texts = sum(len(chunk.text) for chunk in index.chunks)
    return int(index.vectors.nbytes + index.owners.nbytes) + 4 * texts


def _digest(documents: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        for text in (document.id, document.title, *document.chunks):
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "big"))
            digest.update(raw)
        digest.update(b"\xff")
    return digest.hexdigest()
