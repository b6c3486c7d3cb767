"""Contextual retrieval over gRPC, with the real embedding model."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import numpy as np
import pytest

from infermesh.cache.v1 import retrieval_pb2, retrieval_pb2_grpc

pytestmark = pytest.mark.timeout(240)
Documented = retrieval_pb2.RetrievalDocument
MANUAL = Documented(
    id="manual",
    title="Coffee machine",
    chunks=[
        "# Cleaning\nRinse the water tank every evening and let it dry.",
        "Descale the boiler once a month: pour in the acid and press both buttons.",
        "# Warranty\nRepairs within two years of the purchase cost nothing.",
    ],
)
LEASE = Documented(
    id="lease", title="Flat", chunks=["The rent is due on the first day of each month."]
)


class Asking:
    """Calls one replica."""

    def __init__(self, replica, tenant: str = "acme") -> None:
        self.stub = retrieval_pb2_grpc.RetrievalServiceStub(replica.channel)
        self.metadata = replica.caller(tenant).metadata

    async def rank(self, documents, queries, **more) -> retrieval_pb2.RankPassagesResponse:
        request = retrieval_pb2.RankPassagesRequest(documents=documents, queries=queries, **more)
        return await self.stub.RankPassages(request, metadata=self.metadata, timeout=200)

    async def contextualise(self, documents, **more):
        request = retrieval_pb2.ContextualiseChunksRequest(documents=documents, **more)
        return await self.stub.ContextualiseChunks(request, metadata=self.metadata, timeout=200)


async def test_passages_are_found_by_meaning_and_documents_are_made_ready_once(replica) -> None:
    acme = Asking(replica)
    queries = ["How is the boiler descaled?", "When is the rent due?"]
    first = await acme.rank([MANUAL, LEASE], queries, top_k=2)
    best = [(r.passages[0].document, r.passages[0].index) for r in first.results]
    assert best == [("manual", 1), ("lease", 0)]
    assert all(len(result.passages) == 2 for result in first.results)
    assert first.results[0].passages[0].context == "Coffee machine\n# Cleaning"
    assert not first.prepared and first.space.startswith("minilm")
    assert (await acme.rank([MANUAL, LEASE], queries[:1])).prepared
    # Another tenant with the same documents, and the same tenant with others, begin anew.
    assert not (await Asking(replica, "globex").rank([MANUAL, LEASE], queries[:1])).prepared
    assert not (await acme.rank([LEASE, MANUAL], queries[:1])).prepared


async def test_chunks_come_with_their_context_and_unit_vectors(replica) -> None:
    made = await Asking(replica).contextualise([MANUAL], embed=True)
    assert [(c.document, c.index) for c in made.chunks] == [("manual", n) for n in range(3)]
    assert "# Cleaning" in made.chunks[1].context
    vectors = np.array([c.embedding for c in made.chunks])
    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    plain = await Asking(replica).contextualise([MANUAL])
    assert not plain.space and not any(c.embedding for c in plain.chunks)


@pytest.mark.parametrize(
    ("documents", "queries", "more", "reason"),
    [
        ([], ["x"], {}, "DOCUMENTS_INVALID/documents"),
        ([MANUAL, MANUAL], ["x"], {}, "DOCUMENTS_INVALID/documents.id"),
        ([Documented(chunks=["x"])], ["x"], {}, "DOCUMENTS_INVALID/documents.id"),
        ([MANUAL], [], {}, "QUERIES_INVALID/queries"),
        ([MANUAL], ["x", ""], {}, "QUERIES_INVALID/queries"),
        ([MANUAL], ["x"], {"top_k": -1}, "TOP_K_INVALID/top_k"),
        ([MANUAL], ["x"], {"top_k": 10_000}, "TOP_K_INVALID/top_k"),
        (
            [Documented(id="big", chunks=["x" * 2_000_001])],
            ["x"],
            {},
            "DOCUMENTS_TOO_LARGE/documents.chunks",
        ),
    ],
)
async def test_what_cannot_be_ranked_is_refused_by_name(
    replica, reason_of: Callable[[grpc.aio.AioRpcError], str], documents, queries, more, reason
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await Asking(replica).rank(documents, queries, **more)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error.value) == reason


async def test_without_its_model_it_is_unavailable_and_the_cache_answers(
    mesh, redis_server, tmp_path, reason_of: Callable[[grpc.aio.AioRpcError], str]
) -> None:
    (tmp_path / "empty").mkdir()
    settings = mesh.settings(redis_server).retrieval.model_dump(mode="json")
    settings["embedding"]["local"]["folder"] = str(tmp_path / "empty")
    replica = await mesh.start(redis_server, retrieval=settings)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await Asking(replica).rank([LEASE], ["rent?"])
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(error.value).startswith("EMBEDDING")
    assert await replica.caller().lead("another question")
