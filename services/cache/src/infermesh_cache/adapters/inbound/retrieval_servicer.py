"""`RetrievalService` over gRPC."""

from collections.abc import Sequence
from typing import Any

import grpc

from infermesh.cache.v1 import retrieval_pb2, retrieval_pb2_grpc
from infermesh_cache.application.retrieval import Retrieval
from infermesh_cache.domain.retrieval.documents import Document
from infermesh_cache.settings import RetrievalSettings
from infermesh_common.context import current
from infermesh_common.errors import InvalidArgument

SERVICE = "infermesh.cache.v1.RetrievalService"
"""Full name of the service."""
_USUAL_PASSAGES = 20

Context = grpc.aio.ServicerContext[Any, Any]


class RetrievalServicer(retrieval_pb2_grpc.RetrievalServiceServicer):
    """Serves the caller's own tenant; what it is given it does not store.

    Args:
        retrieval: does it.
        settings: say how much a request may hold.
    """

    def __init__(self, retrieval: Retrieval, settings: RetrievalSettings) -> None:
        self._retrieval = retrieval
        self._settings = settings

    async def ContextualiseChunks(
        self, request: retrieval_pb2.ContextualiseChunksRequest, context: Context
    ) -> retrieval_pb2.ContextualiseChunksResponse:
        """See the contract."""
        documents = self._documents(request.documents)
        made = await self._retrieval.contextualise(documents, embed=request.embed)
        response = retrieval_pb2.ContextualiseChunksResponse(space=made.space)
        for place, chunk in enumerate(made.chunks):
            response.chunks.add(
                document=chunk.document,
                index=chunk.index,
                context=chunk.context,
                embedding=() if made.vectors is None else made.vectors[place].tolist(),
            )
        return response

    async def RankPassages(
        self, request: retrieval_pb2.RankPassagesRequest, context: Context
    ) -> retrieval_pb2.RankPassagesResponse:
        """See the contract."""
        documents = self._documents(request.documents)
        queries = self._queries(request.queries)
        limit = request.top_k or _USUAL_PASSAGES
        if not 0 < limit <= self._settings.most_passages:
            raise InvalidArgument(
                "TOP_K_INVALID", f"From 1 to {self._settings.most_passages}.", field="top_k"
            )
        tenant = current().caller().tenant
        ranked = await self._retrieval.rank(tenant, documents, queries, limit)
        response = retrieval_pb2.RankPassagesResponse(space=ranked.space, prepared=ranked.prepared)
        for passages in ranked.passages:
            result = response.results.add()
            for passage in passages:
                result.passages.add(
                    document=passage.chunk.document,
                    index=passage.chunk.index,
                    context=passage.chunk.context,
                    score=passage.score,
                    similarity=passage.similarity,
                    lexical=passage.lexical,
                )
        return response

    def _queries(self, queries: Sequence[str]) -> list[str]:
        if not 0 < len(queries) <= self._settings.most_queries or not all(queries):
            raise InvalidArgument(
                "QUERIES_INVALID",
                f"From 1 to {self._settings.most_queries} queries, none of them empty.",
                field="queries",
            )
        return list(queries)

    def _documents(self, given: Sequence[retrieval_pb2.RetrievalDocument]) -> list[Document]:
        settings = self._settings
        if not 0 < len(given) <= settings.most_documents:
            raise InvalidArgument(
                "DOCUMENTS_INVALID",
                f"From 1 to {settings.most_documents} documents.",
                field="documents",
            )
        documents = [Document(each.id, each.title, tuple(each.chunks)) for each in given]
        if not all(each.id for each in given) or len({each.id for each in given}) < len(given):
            raise InvalidArgument(
                "DOCUMENTS_INVALID", "Each document needs an id of its own.", field="documents.id"
            )
        chunks = sum(len(each.chunks) for each in documents)
        chars = sum(len(text) for each in documents for text in (each.title, *each.chunks))
        if chunks > settings.most_chunks or chars > settings.most_chars:
            raise InvalidArgument(
                "DOCUMENTS_TOO_LARGE",
                f"At most {settings.most_chunks} chunks and {settings.most_chars} characters in "
                "all; give less at a time.",
                field="documents.chunks",
            )
        return documents
