"""What the benchmarks of embeddings, context and retrieval count."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from infermesh_cache.adapters.outbound.retrieval.bm25 import Bm25Indexer
from infermesh_cache.application.contextual_retriever import ContextualRetriever
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats

from benchmarks.context.__main__ import (
    Measured,
    blind_key_of,
    bound_key_of,
    collisions,
    figures_of,
    key_of,
    transplanted,
)
from benchmarks.context.dataset import read_conversations
from benchmarks.contextual_retrieval.__main__ import read, shares
from benchmarks.embeddings.__main__ import conclusion, mean_hit_rate
from benchmarks.embeddings.quality import rates, read_sets


def write_topics(folder: Path) -> Path:
    """Conversations in the forms of two years, each long enough to be drawn from."""
    old, new = folder / "2019" / "evaluation", folder / "2021"
    old.mkdir(parents=True)
    new.mkdir()
    raw = [
        {
            "number": n,
            "turn": [{"number": 1, "raw_utterance": first}]
            + [{"number": m, "raw_utterance": "Is it safe?"} for m in range(2, 14)],
        }
        for n, first in ((1, "What is aspirin?"), (2, "What is skiing?"))
    ]
    (old / "topics.json").write_text(json.dumps(raw))
    rows = [f"{n}_1\t{first}" for n, first in ((1, "what is aspirin"), (2, "What is skiing?"))]
    rows += [f"1_{m}\tIs aspirin safe?" for m in range(2, 14)]
    rows += [f"2_{m}\tIs skiing safe?" for m in range(2, 14)]
    (old / "resolved.tsv").write_text("\n".join(rows))
    turn = {"number": 1, "raw_utterance": "Hi there, what is tea?", "passage": "A drink."}
    last = {"number": 2, "raw_utterance": "And coffee?"}
    turns = [
        {**turn, "manual_rewritten_utterance": "What is tea?"},
        {**last, "manual_rewritten_utterance": "What is coffee?"},
    ]
    (new / "topics.json").write_text(json.dumps([{"number": 1, "turn": turns}]))
    return folder


def measured_of(folder: Path) -> Measured:
    turns = read_conversations(write_topics(folder))
    keys = [key_of(turn, turn.history) for turn in turns]
    vectors = np.zeros((len(turns), 2), np.float32)
    vectors[:, 0] = 1
    return Measured(turns, keys, vectors, np.full(len(turns), 0.5, np.float32))


def test_conversations_of_every_form_are_read_with_their_histories(tmp_path: Path) -> None:
    turns = read_conversations(write_topics(tmp_path))
    assert len(turns) == 28
    assert turns[0].stands_alone and not turns[1].stands_alone
    assert turns[2].history == (
        {"role": "user", "content": "What is aspirin?"},
        {"role": "user", "content": "Is it safe?"},
    )
    assert turns[-1].history[1] == {"role": "assistant", "content": "A drink."}


def test_a_folder_without_conversations_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_conversations(tmp_path)


def test_a_blind_key_is_found_after_every_history_and_a_bound_one_after_none(
    tmp_path: Path,
) -> None:
    measured = measured_of(tmp_path)
    assert transplanted(measured, blind_key_of).min() == 1
    assert transplanted(measured, bound_key_of).max() == 0
    found = transplanted(measured, key_of)
    assert found[0] == 1 and found[1] == 0


def test_the_same_words_of_another_meaning_collide_for_a_blind_key_only(tmp_path: Path) -> None:
    measured = measured_of(tmp_path)
    # Vectors are all alike here: the nearest is the first that the exact part allows.
    assert collisions(measured, blind=True).sum() > 0
    assert collisions(measured, blind=False)[1] == 0
    figures = figures_of(measured)
    assert figures["wrongly_served_share_blind"] == 1
    assert figures["wrongly_served_share"] < 0.1


def test_the_best_threshold_serves_what_the_error_allows() -> None:
    cosines = np.linspace(1, 0, 200, dtype=np.float32)
    right = np.ones(200, bool)
    right[[50, 60, 70]] = False
    # Two of 200 may be wrong: all before the third.
    assert rates(cosines, right)["hit_rate"] == pytest.approx(70 / 200)
    assert rates(np.ones(4, np.float32), np.array([True, True, False, True]))["hit_rate"] == 0
    area = rates(np.array([0.9, 0.8, 0.7], np.float32), np.array([True, False, True]))["area"]
    assert area == pytest.approx(0.5)


def test_sets_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    assert read_sets(tmp_path) == {}


def test_of_models_as_good_the_smallest_is_chosen() -> None:
    slow = {"p95_ms_at_1": 80.0, "rss_mb": 1.0, "a_hit_rate": 0.9}
    large = {"p95_ms_at_1": 10.0, "rss_mb": 200.0, "a_hit_rate": 0.305}
    small = {"p95_ms_at_1": 10.0, "rss_mb": 100.0, "a_hit_rate": 0.300}
    poor = {"p95_ms_at_1": 1.0, "rss_mb": 50.0, "a_hit_rate": 0.1}
    measured = {"slow": slow, "large": large, "small": small, "poor": poor}
    assert "speak for small" in conclusion(measured)
    assert "No model" in conclusion({"slow": slow})
    assert mean_hit_rate({"a_hit_rate": 0.2, "b_hit_rate": 0.4}) == pytest.approx(0.3)


class OnePoint:
    """Every text has the same vector."""

    space = EmbeddingSpace("one@1", 2)

    async def embed(self, texts: Sequence[str]) -> Floats:
        return np.tile(np.array([1, 0], np.float32), (len(texts), 1))


async def test_pass_at_k_is_the_mean_share_of_golden_chunks(tmp_path: Path) -> None:
    chunks = [{"original_index": n, "content": f"word{n}"} for n in (1, 0)]
    document = {"original_uuid": "d", "chunks": chunks}
    (tmp_path / "codebase_chunks.json").write_text(json.dumps([document]))
    entries = [
        {"query": "word0", "golden_chunk_uuids": [["d", 0]]},
        {"query": "word1", "golden_chunk_uuids": [["d", 1], ["gone", 0]]},
    ]
    (tmp_path / "evaluation_set.jsonl").write_text("\n".join(map(json.dumps, entries)))
    documents, questions = read(tmp_path)
    assert documents[0].chunks == ("word0", "word1")
    with ThreadPoolExecutor(1) as executor:
        retriever = ContextualRetriever(OnePoint(), Bm25Indexer(), executor)
        found = await shares(retriever, documents, questions)
    assert found == {5: 0.75, 10: 0.75, 20: 0.75}
