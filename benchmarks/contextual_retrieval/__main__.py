"""`make bench-contextual-retrieval`: passages found among the first 5, 10 and 20.

`pass_at_k` as the data set's authors define it: for each query, the share of its golden chunks that
are among the first k; the mean over queries. Every row is the service's `ContextualRetriever` with
some of its parts off; the last is how it runs. Documents have no titles here: the paths stand with
the queries only, and are not used.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.embeddings.engines import BATCHING, local_engine
from benchmarks.report import report
from infermesh_cache.adapters.outbound.retrieval.bm25 import Bm25Indexer
from infermesh_cache.application.contextual_retriever import ContextualRetriever, RetrievalOptions
from infermesh_cache.domain.retrieval.documents import Document

CUTS = (5, 10, 20)
GATE = 0.92
PUBLISHED = 0.963
MODEL = "minilm-int8"
PLAIN = RetrievalOptions(context=False, document_weight=0)
ROWS = {
    "hybrid_plain": PLAIN,
    "hybrid_context": replace(PLAIN, context=True),
    "all_scores": RetrievalOptions(fusion="scores"),
    "all": RetrievalOptions(),
}
MEMORY_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Question:
    """A query and the chunks that answer it, as (document, index)."""

    text: str
    golden: frozenset[tuple[str, int]]


def read(folder: Path) -> tuple[list[Document], list[Question]]:
    """Documents and questions of a folder.

    Raises:
        OSError: a file is missing.
    """
    raw = json.loads((folder / "codebase_chunks.json").read_text("utf-8"))
    documents = [
        Document(
            entry["original_uuid"],
            "",
            tuple(
                chunk["content"]
                for chunk in sorted(entry["chunks"], key=lambda chunk: chunk["original_index"])
            ),
        )
        for entry in raw
    ]
    lines = (folder / "evaluation_set.jsonl").read_text("utf-8").splitlines()
    questions = [
        Question(
            entry["query"], frozenset((name, place) for name, place in entry["golden_chunk_uuids"])
        )
        for entry in map(json.loads, filter(None, lines))
    ]
    return documents, questions


async def shares(
    retriever: ContextualRetriever, documents: Sequence[Document], questions: Sequence[Question]
) -> dict[int, float]:
    """pass_at_k by k."""
    index = await retriever.index(documents)
    found = dict.fromkeys(CUTS, 0.0)
    for question in questions:
        passages = await retriever.search(index, question.text, max(CUTS))
        places = [(passage.chunk.document, passage.chunk.index) for passage in passages]
        for cut in CUTS:
            found[cut] += len(question.golden & set(places[:cut])) / len(question.golden)
    return {cut: total / len(questions) for cut, total in found.items()}


async def measure(
    documents: Sequence[Document], questions: Sequence[Question]
) -> dict[str, dict[int, float]]:
    """pass_at_k of each row; texts are embedded once."""
    engine = local_engine(MODEL, batching=replace(BATCHING, memory_bytes=MEMORY_BYTES))
    measured: dict[str, dict[int, float]] = {}
    with ThreadPoolExecutor(1) as executor:
        try:
            for name, options in ROWS.items():
                retriever = ContextualRetriever(engine, Bm25Indexer(), executor, options)
                measured[name] = await shares(retriever, documents, questions)
                print(name, {cut: round(share, 4) for cut, share in measured[name].items()})
        finally:
            await engine.close()
    return measured


def main() -> int:
    """Runs the benchmark; 2 when there is no data."""
    folder = Path(os.environ.get("INFERMESH_DATA", "../shared/data")) / "contextual_retrieval"
    try:
        documents, questions = read(folder)
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    measured = asyncio.run(measure(documents, questions))
    figures = {f"pass_at_{cut}": share for cut, share in measured["all"].items()}
    reached = figures["pass_at_20"]
    figures["distance_to_published"] = PUBLISHED - reached
    report(
        "contextual-retrieval",
        figures,
        method=(
            f"{MODEL} over windows, BM25 over chunks with rule-made context, evidence of the whole "
            "document, reciprocal rank fusion; no LLM, no reranker; published: 0.963 at 20 with a "
            "hosted embedder, LLM-written context and a hosted reranker"
        ),
        data=f"{len(questions)} queries, {len(documents)} documents, {folder}",
        details={"rows": measured},
    )
    for name, by_cut in measured.items():
        print(f"{name:16}", *(f"{by_cut[cut]:.4f}" for cut in CUTS))
    print(
        f"gate pass_at_20 >= {GATE}: {reached:.4f} {'met' if reached >= GATE else 'NOT MET'}; "
        f"{PUBLISHED - reached:+.4f} to {PUBLISHED}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
