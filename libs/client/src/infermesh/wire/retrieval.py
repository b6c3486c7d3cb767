"""Messages of contextual retrieval and what they stand for."""

from collections.abc import Sequence

from infermesh.cache.v1 import retrieval_pb2
from infermesh.errors import InvalidRequestError
from infermesh.retrieval import ContextualChunk, Passage, RetrievalDocument


def contextualise_request(
    documents: Sequence[RetrievalDocument], *, embed: bool
) -> retrieval_pb2.ContextualiseChunksRequest:
    """Raises InvalidRequestError: INVALID_DOCUMENTS, there are none."""
    return retrieval_pb2.ContextualiseChunksRequest(documents=_documents(documents), embed=embed)


def rank_request(
    documents: Sequence[RetrievalDocument], queries: Sequence[str], top_k: int
) -> retrieval_pb2.RankPassagesRequest:
    """Raises InvalidRequestError: INVALID_DOCUMENTS or INVALID_QUERIES, there are none."""
    if isinstance(queries, str) or not queries:
        raise InvalidRequestError(
            "Give a list of queries.", reason="INVALID_QUERIES", field="queries"
        )
    return retrieval_pb2.RankPassagesRequest(
        documents=_documents(documents), queries=queries, top_k=top_k
    )


def chunks(message: retrieval_pb2.ContextualiseChunksResponse) -> list[ContextualChunk]:
    """Chunks in their context, document by document."""
    return [
        ContextualChunk(each.document, each.index, each.context, tuple(each.embedding))
        for each in message.chunks
    ]


def passages(message: retrieval_pb2.RankPassagesResponse) -> list[list[Passage]]:
    """Passages of each query, best first."""
    return [[_passage(each) for each in result.passages] for result in message.results]


def _passage(message: retrieval_pb2.Passage) -> Passage:
    return Passage(
        document=message.document,
        index=message.index,
        context=message.context,
        score=message.score,
        similarity=message.similarity,
        lexical=message.lexical,
    )


def _documents(given: Sequence[RetrievalDocument]) -> list[retrieval_pb2.RetrievalDocument]:
    if not given:
        raise InvalidRequestError(
            "Give the documents.", reason="INVALID_DOCUMENTS", field="documents"
        )
    return [
        retrieval_pb2.RetrievalDocument(id=each.id, title=each.title, chunks=each.chunks)
        for each in given
    ]
