"""Contextual retrieval for applications' own documents: index them, then ask.

A chunk is found by its words (BM25, with its context before it) and by its meaning (the best of the
windows of it), both together with what its document as a whole says, fused by reciprocal rank.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from infermesh_cache.domain.retrieval.documents import (
    ContextualChunk,
    Document,
    contextualise,
    windows,
)
from infermesh_cache.domain.retrieval.fusion import (
    Groups,
    Scores,
    best_of_groups,
    reciprocal_rank_fusion,
    standardised_sum,
    with_evidence,
)
from infermesh_cache.domain.retrieval.lexemes import lexemes
from infermesh_cache.retrieval_ports import LexicalIndex, LexicalIndexer, Reranker, Summariser
from infermesh_cache.semantic_ports import EmbeddingEngine, Floats
from infermesh_common.errors import DeadlineExceeded, FailedPrecondition, Unavailable

T = TypeVar("T")
FUSIONS = {"ranks": reciprocal_rank_fusion, "scores": standardised_sum}


@dataclass(frozen=True, slots=True)
class RetrievalOptions:
    """How passages are ranked.

    Attributes:
        context: whether chunks are indexed with their context.
        document_weight: of a document's score in that of its chunks; 0 for none.
        fusion: `ranks` (reciprocal rank fusion) or `scores` (standardised sum).
        texts_at_once: given to the embedding engine at a time; fewer than may wait there.
        reranked: of the first results, read again by the reranker.
    """

    context: bool = True
    document_weight: float = 1.0
    fusion: Literal["ranks", "scores"] = "ranks"
    texts_at_once: int = 64
    reranked: int = 50


@dataclass(frozen=True, slots=True, eq=False)
class ContextualIndex:
    """Documents made ready to be searched; never changed.

    Attributes:
        chunks: all of them, document by document.
        documents: place of each chunk's document.
        document_count: how many there are.
        vectors: of all windows, unit; shape (windows, dimension).
        owners: place of each window's chunk.
        words: index of the chunks.
        document_words: index of the documents.
        space: name of the space of the vectors.
    """

    chunks: tuple[ContextualChunk, ...]
    documents: Groups
    document_count: int
    vectors: Floats
    owners: Groups
    words: LexicalIndex
    document_words: LexicalIndex
    space: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that was found.

    Attributes:
        chunk: it.
        score: of the fusion or, when `reranked`, of the reranker; comparable within one search.
        similarity: cosine of its best window with the query.
        lexical: its BM25 score.
        reranked: whether the reranker put it where it is.
    """

    chunk: ContextualChunk
    score: float
    similarity: float
    lexical: float
    reranked: bool = False


class ContextualRetriever:
    """Indexes documents and finds passages.

    Indexing embeds every window of every chunk: give it an embedding engine of its own, or lookups
    of the cache wait behind it.

    Args:
        embeddings: of windows and queries.
        indexer: makes lexical indexes.
        executor: a bounded one, for what is CPU-heavy here.
        options: how passages are ranked.
        summariser: writes a line for each chunk; None for none.
        reranker: reads the first results again; None for none.
    """

    def __init__(
        self,
        embeddings: EmbeddingEngine,
        indexer: LexicalIndexer,
        executor: Executor,
        options: RetrievalOptions = RetrievalOptions(),
        *,
        summariser: Summariser | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self._embeddings = embeddings
        self._indexer = indexer
        self._executor = executor
        self._options = options
        self._summariser = summariser
        self._reranker = reranker

    async def contextualise(self, document: Document) -> list[ContextualChunk]:
        """The chunks of a document with their context, for an application that keeps an index of
        its own. Without the summariser's lines when it fails."""
        summaries: Sequence[str] = ()
        if self._summariser is not None:
            try:
                summaries = await self._summariser.summaries(document)
            except (Unavailable, DeadlineExceeded):
                # Rules alone are what there is without one; its guard counts the failure.
                summaries = ()
        return await self._off_loop(lambda: contextualise(document, summaries))

    async def index(self, documents: Sequence[Document]) -> ContextualIndex:
        """The documents, ready to be searched.

        Raises:
            Unavailable: the embedding engine fails.
        """
        chunks: list[ContextualChunk] = []
        places: list[int] = []
        for place, document in enumerate(documents):
            made = await self.contextualise(document)
            chunks.extend(made)
            places.extend([place] * len(made))
        pieces = [
            (owner, window)
            for owner, chunk in enumerate(chunks)
            for window in windows(chunk.content)
        ]
        vectors = await self.embedded([window for _, window in pieces])
        words, document_words = await self._off_loop(lambda: self._lexical(chunks, documents))
        return ContextualIndex(
            tuple(chunks),
            np.array(places, np.int64),
            len(documents),
            vectors,
            np.array([owner for owner, _ in pieces], np.int64),
            words,
            document_words,
            self._embeddings.space.name,
        )

    async def search(self, index: ContextualIndex, query: str, limit: int) -> list[Passage]:
        """The passages that answer a query best, best first; at most `limit`.

        Raises:
            FailedPrecondition: RETRIEVAL_SPACE_CHANGED, the index is of another embedding model.
            Unavailable: the embedding engine fails.
        """
        if index.space != self._embeddings.space.name:
            raise FailedPrecondition(
                "RETRIEVAL_SPACE_CHANGED",
                "The documents were indexed with another embedding model; index them again.",
            )
        if not index.chunks or limit <= 0:
            return []
        (vector,) = await self._embeddings.embed([query])
        wanted = max(limit, self._options.reranked if self._reranker else 0)
        found = await self._off_loop(lambda: self._ranked(index, query, vector, wanted))
        if self._reranker is not None:
            found = await self._reread(self._reranker, query, found)
        return found[:limit]

    async def embedded(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of texts, some at a time; shape (texts, dimension).

        Raises:
            Unavailable: the embedding engine fails.
        """
        step = self._options.texts_at_once
        parts = [np.empty((0, self._embeddings.space.dimension), np.float32)]
        for start in range(0, len(texts), step):
            parts.append(await self._embeddings.embed(texts[start : start + step]))
        return np.concatenate(parts)

    def _lexical(
        self, chunks: Sequence[ContextualChunk], documents: Sequence[Document]
    ) -> tuple[LexicalIndex, LexicalIndex]:
        texts = [chunk.text if self._options.context else chunk.content for chunk in chunks]
        whole = ["\n".join((document.title, *document.chunks)) for document in documents]
        return (
            self._indexer.index([lexemes(text) for text in texts]),
            self._indexer.index([lexemes(text) for text in whole]),
        )

    def _ranked(
        self, index: ContextualIndex, query: str, vector: Floats, limit: int
    ) -> list[Passage]:
        words, weight = lexemes(query), self._options.document_weight
        similarity = best_of_groups(index.vectors @ vector, index.owners, len(index.chunks))
        lexical = index.words.scores(words)
        rankings: list[Scores] = [similarity, lexical]
        if weight:
            nearest = best_of_groups(similarity, index.documents, index.document_count)
            about = index.document_words.scores(words)
            rankings = [
                with_evidence(similarity, nearest[index.documents], weight),
                with_evidence(lexical, about[index.documents], weight),
            ]
        scores = FUSIONS[self._options.fusion](rankings)
        order = np.argsort(-scores, kind="stable")[:limit]
        return [
            Passage(
                index.chunks[place],
                float(scores[place]),
                float(similarity[place]),
                float(lexical[place]),
            )
            for place in order.tolist()
        ]

    async def _reread(
        self, reranker: Reranker, query: str, found: Sequence[Passage]
    ) -> list[Passage]:
        first, rest = found[: self._options.reranked], found[self._options.reranked :]
        try:
            scores = await reranker.scores(query, [passage.chunk.text for passage in first])
        except (Unavailable, DeadlineExceeded):
            # The order of the fusion is what there is without one.
            return list(found)
        read = [
            Passage(p.chunk, score, p.similarity, p.lexical, reranked=True)
            for p, score in zip(first, scores, strict=True)
        ]
        return [*sorted(read, key=lambda passage: -passage.score), *rest]

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
