"""Contextual retrieval with both clients."""

import inspect
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from infermesh import AsyncClient, Client, InvalidRequestError, RetrievalDocument
from infermesh.cache.v1 import retrieval_pb2
from infermesh.testing import ScriptedMesh

AnyClient = Client | AsyncClient
T = TypeVar("T")
DOCUMENTS = [RetrievalDocument("a", ["first", "second"], title="A")]


async def now(value: T | Awaitable[T]) -> T:
    """The result of a method of either client."""
    return await value if inspect.isawaitable(value) else value


async def test_chunks_come_in_their_context(mesh: ScriptedMesh, client: AnyClient) -> None:
    response = retrieval_pb2.ContextualiseChunksResponse(space="words@0")
    response.chunks.add(document="a", index=1, context="A", embedding=[0.5, 0.5])
    mesh.script("ContextualiseChunks", response)
    (chunk,) = await now(client.contextualise_chunks(DOCUMENTS, embed=True))
    assert (chunk.document, chunk.index, chunk.context) == ("a", 1, "A")
    assert chunk.embedding == (0.5, 0.5)
    sent = retrieval_pb2.RetrievalDocument(id="a", title="A", chunks=["first", "second"])
    assert mesh.received("ContextualiseChunks")[0].request == (
        retrieval_pb2.ContextualiseChunksRequest(documents=[sent], embed=True)
    )


async def test_passages_come_by_query(mesh: ScriptedMesh, client: AnyClient) -> None:
    response = retrieval_pb2.RankPassagesResponse()
    response.results.add().passages.add(document="a", index=1, score=0.5, similarity=0.25)
    response.results.add()
    mesh.script("RankPassages", response)
    found = await now(client.rank_passages(DOCUMENTS, ["who?", "what?"], top_k=3))
    assert [(each.document, each.index, each.score) for each in found[0]] == [("a", 1, 0.5)]
    assert found[1] == []
    request = mesh.received("RankPassages")[0].request
    assert isinstance(request, retrieval_pb2.RankPassagesRequest)
    assert (list(request.queries), request.top_k) == (["who?", "what?"], 3)


async def test_what_cannot_be_asked_is_refused_before_it_is_sent(
    mesh: ScriptedMesh, client: AnyClient
) -> None:
    with pytest.raises(InvalidRequestError) as error:
        await now(client.contextualise_chunks([]))
    assert error.value.reason == "INVALID_DOCUMENTS"
    for queries in ([], "one text is not a list"):
        with pytest.raises(InvalidRequestError) as error:
            await now(client.rank_passages(DOCUMENTS, queries))
        assert error.value.reason == "INVALID_QUERIES"
    assert not mesh.calls
