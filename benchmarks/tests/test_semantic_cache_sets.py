"""Sets are read as they are, and what stands beside ours does what it says."""

from __future__ import annotations

import io
import json
import tarfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from benchmarks.semantic_cache.gates import verdicts
from benchmarks.semantic_cache.labelled import Labelled, NoSuchSet, read
from benchmarks.semantic_cache.orders import Order, figures_of, points
from benchmarks.semantic_cache.replay import Run, replay
from benchmarks.semantic_cache.rivals import best_static_hits, ideal_hits, vcache
from benchmarks.semantic_cache.service import Answered, Asked, Through, script
from benchmarks.semantic_cache.sets import folders, tasks_of
from infermesh_cache.domain.semantic.wording import Wording


def unit(rows: np.ndarray) -> np.ndarray:
    made: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


def clusters(count: int, labels: int, noise: float, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(labels, 32))
    drawn = chance.integers(labels, size=count)
    return unit(centres[drawn] + noise * chance.normal(size=(count, 32))), drawn.tolist()


class TestLabelled:
    def test_rows_of_csv_are_numbered_by_their_category(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("text,category\nlost card,card\nmy card is gone,card\n")
        (tmp_path / "b.csv").write_text("text,category\nwhat is my rate,rate\nlost card,card\n")
        found = read(tmp_path)
        assert found.texts == ["lost card", "my card is gone", "what is my rate"]
        assert found.labels == [0, 0, 1]
        assert sorted(found.stream(1, 10)) == [0, 1, 2]
        assert found.stream(1, 2) == found.stream(1, 2)

    def test_what_is_out_of_scope_has_a_label_of_its_own(self, tmp_path: Path) -> None:
        rows = {"train": [["a", "x"], ["b", "oos"]], "val": [["c", "oos"], ["d", "x"]]}
        (tmp_path / "data_full.json").write_text(json.dumps(rows))
        assert read(tmp_path).labels == [0, 1, 2, 0]

    def test_pairs_that_are_equal_make_groups_and_lone_ones_stay(self, tmp_path: Path) -> None:
        pairs = [
            {"text_a": "a", "text_b": "b", "label": 1},
            {"text_a": "b", "text_b": "c", "label": 1},
            {"text_a": "d", "text_b": "e", "label": 0},
            {"text_a": "a", "text_b": "d", "label": 0},
        ]
        content = json.dumps(pairs).encode()
        with tarfile.open(tmp_path / "similiar_qqp_full.json.gz", "w:gz") as archive:
            member = tarfile.TarInfo("pairs.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        found = read(tmp_path)
        assert len({found.labels[p] for p in range(3)}) == 1
        assert [found.texts[p] for p in found.lone or []] == ["d", "e"]
        assert len(set(found.stream(0, 4))) == len(found.stream(0, 4))

    def test_another_layout_is_refused_by_name(self, tmp_path: Path) -> None:
        with pytest.raises(NoSuchSet, match="data_full.json"):
            read(tmp_path)
        with pytest.raises(NoSuchSet, match="is not there"):
            folders({"DATASET": str(tmp_path / "none")})

    def test_what_is_asked_for_is_run(self, tmp_path: Path) -> None:
        assert folders({"DATASET": str(tmp_path)}) == [tmp_path]
        (task,) = tasks_of({"DELTA": "0.02", "REQUESTS": "5"}, [tmp_path])
        assert (task.delta, task.requests, task.model) == (0.02, 5, "minilm-int8")


class TestRivals:
    def test_the_ideal_answers_every_label_but_the_first_of_it(self) -> None:
        assert ideal_hits([1, 1, 2, 1, 3]) == 2

    def test_a_static_threshold_gets_what_is_apart_and_no_more_errors_than_permitted(self) -> None:
        vectors, labels = clusters(300, 6, noise=0.05)
        assert best_static_hits(vectors, labels, 0.01) >= 0.95 * ideal_hits(labels)
        rng = np.random.default_rng(1)
        noise = unit(rng.normal(size=(200, 32)))
        assert best_static_hits(noise, rng.integers(50, size=200).tolist(), 0.0) <= 2

    def test_vcaches_rule_learns_what_is_apart_and_keeps_its_errors_few(self) -> None:
        vectors, labels = clusters(400, 2, noise=0.3)
        run = vcache(vectors, labels, 0.05, seed=3)
        assert run.hits > 10
        assert run.wrong <= 0.05 * run.requests
        assert run.hits + run.explored <= run.requests

    def test_vcaches_rule_serves_nothing_without_outcomes(self) -> None:
        vectors, labels = clusters(4, 1, noise=0.1)
        assert vcache(vectors, labels, 0.05, seed=3).hits == 0


class TestOrders:
    def test_an_order_counts_what_was_served_and_what_of_it_was_wrong(self) -> None:
        vectors, labels = clusters(1500, 8, noise=0.2)
        wordings = [Wording.of(f"question of kind {label}") for label in labels]
        run = replay(vectors, wordings, labels, 0.05, seed=1)
        assert run.requests == 1500 and run.hits > 100
        assert run.wrong == len(run.wrongs) <= run.hits
        assert not run.passed_at

    def test_figures_are_shares_of_all_requests(self) -> None:
        ours = [Run(requests=100, hits=50, wrong=1), Run(requests=100, hits=30, wrong=3)]
        orders = [Order(ours[0], ours[1], 20, 90), Order(ours[1], None, None, 80)]
        found = figures_of(orders, 0.02)
        assert (found["hit_rate"], found["error_over_all"]) == (0.4, 0.02)
        assert (found["orders_over_delta"], found["ideal_hit_rate"]) == (0.5, 0.85)
        assert (found["vcache_hit_rate"], found["best_static_hit_rate"]) == (0.3, 0.2)
        assert points(orders, 0.02)["ours"] == [(0.01, 0.5), (0.03, 0.3)]

    def test_a_gate_that_is_not_met_says_so(self) -> None:
        bound, hits = verdicts("banking77", 0.01, 0.5, 0.1)
        assert "NOT met" in bound and "NOT met" in hits
        assert verdicts("another", 0.01, 0.5, 0.0) == ["orders_over_delta 0.000 <= 0.05: met"]


class TestService:
    def test_the_longest_question_in_a_prompt_decides(self) -> None:
        made = script([Asked("my card", "a"), Asked("my card is lost", "b", tokens=(7, 3))])
        rules = made["rules"]
        assert isinstance(rules, list)
        assert [rule["when"]["prompt"] for rule in rules] == ["my card is lost", "my card"]
        assert rules[0]["answer"] == {"text": "b", "usage": {"input": 7, "output": 3}}

    def test_shares_are_of_all_requests(self) -> None:
        answers = [Answered(True, False, True, 0.02), Answered(False, True, False, None)]
        through = Through(answers, Decimal(1), 2.0)
        assert through.share(lambda answer: answer.served) == 0.5
        assert through.bound_said() == 0.02
        assert Through(answers[1:], Decimal(1), 2.0).bound_said() == 0


def test_a_set_is_a_set() -> None:
    assert Labelled("x", ["a"], [0]).stream(0, 5) == [0]
