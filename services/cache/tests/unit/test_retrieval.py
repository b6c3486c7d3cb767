"""Contextual retrieval with embeddings that the test plays and the real BM25."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from infermesh_cache.adapters.outbound.retrieval.bm25 import Bm25Indexer
from infermesh_cache.application.contextual_retriever import (
    ContextualRetriever,
    RetrievalOptions,
)
from infermesh_cache.domain.retrieval.documents import (
    STEP_CHARS,
    WINDOW_CHARS,
    Document,
    contextualise,
    signatures,
    windows,
)
from infermesh_cache.domain.retrieval.fusion import (
    best_of_groups,
    reciprocal_rank_fusion,
    standardised_sum,
)
from infermesh_cache.domain.retrieval.lexemes import lexemes
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_common.errors import FailedPrecondition, Unavailable
from hypothesis import given
from hypothesis import strategies as st

RUST = Document(
    "rust",
    "src/pool.rs",
    (
        "pub struct ConnectionPool {\n    size: usize,\n}\n",
        "impl ConnectionPool {\n    pub fn open(size: usize) -> Self {\n        todo()\n    }\n",
        "    // continues\n    let handles = vec![];\n",
    ),
)
GUIDE = Document(
    "guide",
    "Guide",
    (
        "# Install\n\nRun the installer.\n",
        "## On Linux\n\nUse apt.\n",
        "Restart.\n",
        "# Use\n\nBegin.\n",
        "Press the green button.\n",
    ),
)


class LetterVectors:
    """Embeds a text as how often it holds each letter."""

    def __init__(self, name: str = "letters@1") -> None:
        self.space = EmbeddingSpace(name, 26)
        self.calls: list[int] = []

    async def embed(self, texts: Sequence[str]) -> Floats:
        self.calls.append(len(texts))
        counts = [[1e-3 + text.lower().count(chr(97 + n)) for n in range(26)] for text in texts]
        vectors = np.array(counts, np.float32).reshape(len(texts), 26)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


class PlayedReranker:
    """Likes long passages, or fails."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    async def scores(self, query: str, passages: Sequence[str]) -> Sequence[float]:
        if self.fails:
            raise Unavailable("GONE", "It is gone.")
        return [float(len(passage)) for passage in passages]


class PlayedSummariser:
    """Says the same of every chunk, or fails."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    async def summaries(self, document: Document) -> Sequence[str]:
        if self.fails:
            raise Unavailable("GONE", "It is gone.")
        return ["about zymurgy"] * len(document.chunks)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_a_chunk_of_code_is_under_the_definitions_before_it() -> None:
    first, second, third = contextualise(RUST)
    assert first.context == "src/pool.rs"
    assert second.context.splitlines() == ["src/pool.rs", "pub struct ConnectionPool"]
    assert third.context.splitlines() == [
        "src/pool.rs",
        "pub struct ConnectionPool",
        "impl ConnectionPool",
        "pub fn open(size: usize) -> Self",
    ]
    assert third.text.endswith(RUST.chunks[2])


def test_a_heading_ends_those_of_its_level() -> None:
    contexts = [chunk.context.splitlines() for chunk in contextualise(GUIDE)]
    assert contexts[1] == ["Guide", "# Install"]
    assert contexts[2] == ["Guide", "# Install", "## On Linux"]
    assert contexts[4] == ["Guide", "# Use"]


def test_a_document_without_structure_has_no_context_and_its_text_is_as_given() -> None:
    (chunk,) = contextualise(Document("d", "", ("Just text.",)))
    assert chunk.context == "" and chunk.text == "Just text."


@pytest.mark.parametrize(
    ("code", "signature"),
    [
        ("def f(x):\n    return x", "def f(x):"),
        ("class A(B):\n    pass", "class A(B):"),
        ("int main(int argc, char **argv) {\n", "int main(int argc, char **argv) {"),
        ("export async function go() {\n", "export async function go()"),
        ("static void Pool::open(int n)\n{", "static void Pool::open(int n)"),
        ("func (s *Server) Run() error {\n", "func (s *Server) Run() error"),
    ],
)
def test_signatures_of_many_languages_are_seen(code: str, signature: str) -> None:
    assert signatures(code) == [signature]


def test_calls_are_no_signatures() -> None:
    assert signatures("    open(3);\n    x = go(4)\nreturn f(x);\n") == []


@given(st.text(max_size=3000))
def test_windows_leave_no_part_of_a_text_out(text: str) -> None:
    covered = 0
    for number, window in enumerate(windows(text)):
        start = number * STEP_CHARS
        assert text[start : start + len(window)] == window and len(window) <= WINDOW_CHARS
        assert start <= covered
        covered = start + len(window)
    assert covered == len(text)


def test_identifiers_are_there_as_a_whole_and_in_parts() -> None:
    assert lexemes("What does readFileNow do?") == ["readfilenow", "read", "file", "now"]
    assert lexemes("max_open_files") == ["max_open_files", "max", "open", "file"]
    assert lexemes("HTTPServer") == ["httpserver", "http", "server"]
    assert lexemes("größe der Straße") == ["größe", "der", "straße"]
    assert lexemes("") == []


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    fused = reciprocal_rank_fusion(
        [np.array([3, 2, 1], np.float32), np.array([1, 3, 2], np.float32)]
    )
    np.testing.assert_allclose(fused, [1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 63 + 1 / 62], 1e-6)


def test_a_ranking_that_tells_nothing_apart_changes_no_standardised_sum() -> None:
    scores, flat = np.array([1, 2, 3], np.float32), np.ones(3, np.float32)
    np.testing.assert_allclose(standardised_sum([scores, flat]), standardised_sum([scores]))


def test_the_best_of_a_group_counts() -> None:
    best = best_of_groups(np.array([1, 5, 2], np.float32), np.array([0, 0, 1]), 2)
    np.testing.assert_array_equal(best, [5, 2])


async def test_a_chunk_is_found_by_words_that_only_its_context_has(
    executor: ThreadPoolExecutor,
) -> None:
    retriever = ContextualRetriever(LetterVectors(), Bm25Indexer(), executor)
    index = await retriever.index([GUIDE, RUST])
    found = await retriever.search(index, "linux restart", 2)
    assert (found[0].chunk.document, found[0].chunk.index) == ("guide", 2)
    assert len(found) == 2 and found[0].score >= found[1].score


@pytest.mark.parametrize("fusion", ["ranks", "scores"])
async def test_options_change_how_and_not_what_is_ranked(
    executor: ThreadPoolExecutor, fusion: str
) -> None:
    options = RetrievalOptions(
        context=False,
        document_weight=0,
        fusion="ranks" if fusion == "ranks" else "scores",
        texts_at_once=2,
    )
    vectors = LetterVectors()
    retriever = ContextualRetriever(vectors, Bm25Indexer(), executor, options)
    index = await retriever.index([GUIDE, RUST])
    assert max(vectors.calls) == 2
    found = await retriever.search(index, "green button", 100)
    assert found[0].chunk.content == GUIDE.chunks[4]
    assert len(found) == len(GUIDE.chunks) + len(RUST.chunks)


@pytest.mark.parametrize("documents", [[], [Document("d", "", ())], [Document("d", "", ("", " "))]])
async def test_documents_of_nothing_are_searched_without_harm(
    executor: ThreadPoolExecutor, documents: list[Document]
) -> None:
    retriever = ContextualRetriever(LetterVectors(), Bm25Indexer(), executor)
    index = await retriever.index(documents)
    assert len(await retriever.search(index, "anything", 5)) == len(index.chunks)
    assert await retriever.search(index, "anything", 0) == []


async def test_words_that_no_document_has_are_a_question_like_others(
    executor: ThreadPoolExecutor,
) -> None:
    retriever = ContextualRetriever(LetterVectors(), Bm25Indexer(), executor)
    index = await retriever.index([GUIDE])
    assert all(p.lexical == 0 for p in await retriever.search(index, "xylophone", 5))


async def test_an_index_of_another_model_is_refused(executor: ThreadPoolExecutor) -> None:
    index = await ContextualRetriever(LetterVectors(), Bm25Indexer(), executor).index([GUIDE])
    other = ContextualRetriever(LetterVectors("letters@2"), Bm25Indexer(), executor)
    with pytest.raises(FailedPrecondition) as error:
        await other.search(index, "a", 1)
    assert error.value.reason == "RETRIEVAL_SPACE_CHANGED"


@pytest.mark.parametrize("fails", [False, True])
async def test_the_reranker_orders_the_first_and_its_failure_changes_nothing(
    executor: ThreadPoolExecutor, fails: bool
) -> None:
    plain = ContextualRetriever(LetterVectors(), Bm25Indexer(), executor)
    index = await plain.index([GUIDE, RUST])
    before = await plain.search(index, "green button", 3)
    reranked = ContextualRetriever(
        LetterVectors(), Bm25Indexer(), executor, reranker=PlayedReranker(fails)
    )
    after = await reranked.search(index, "green button", 3)
    if fails:
        assert after == before
    else:
        assert [p.reranked for p in after] == [True] * 3
        lengths = [len(p.chunk.text) for p in after]
        assert lengths == sorted(lengths, reverse=True)
        assert lengths[0] == max(len(chunk.text) for chunk in index.chunks)


@pytest.mark.parametrize("fails", [False, True])
async def test_summaries_are_context_and_their_failure_leaves_the_rules(
    executor: ThreadPoolExecutor, fails: bool
) -> None:
    retriever = ContextualRetriever(
        LetterVectors(), Bm25Indexer(), executor, summariser=PlayedSummariser(fails)
    )
    chunks = await retriever.contextualise(GUIDE)
    assert all(chunk.context.startswith("Guide") for chunk in chunks)
    assert all(("zymurgy" in chunk.context) is not fails for chunk in chunks)
