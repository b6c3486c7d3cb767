"""The semantic workload is billed by the trace, and figured from the ledger."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.savings.dataset import DatasetError, Price
from benchmarks.savings.semantic import SPEED, baseline_usd, figures_of, read_arrivals, workload
from benchmarks.semantic_cache.service import Answered, Through

PRICE = Price(Decimal("2.5"), Decimal("10"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "banking77").mkdir()
    (tmp_path / "banking77" / "train.csv").write_text("text,category\na,x\nb,x\nc,y\n")
    (tmp_path / "azure_llm_trace").mkdir()
    (tmp_path / "azure_llm_trace" / "AzureLLMInferenceTrace_conv.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.6805900,396,109\n"
        "2023-11-16 18:16:46.6805900,1000,100\n"
    )
    return tmp_path


def test_questions_come_when_and_cost_what_the_trace_says(data: Path) -> None:
    asked = workload(data, 3, seed=0)
    assert sorted(one.text for one in asked) == ["a", "b", "c"]
    assert [one.at_s for one in asked] == [0.0, 4 / SPEED, 60 / SPEED]
    assert [one.tokens for one in asked] == [(374, 44), (396, 109), (1000, 100)]
    assert baseline_usd(asked, PRICE) == Decimal("0.006955")


def test_figures_are_of_all_requests_exploration_paid(data: Path) -> None:
    asked = workload(data, 3, seed=0)
    answers = [
        Answered(False, False, False, None),
        Answered(False, True, False, 0.01),
        Answered(True, False, True, 0.02),
    ]
    cost = baseline_usd(asked[:2], PRICE)
    found = figures_of(asked, Through(answers, cost, 3.0), PRICE)
    assert found["semantic.savings_ratio"] == pytest.approx(0.0035 / 0.006955)
    assert found["semantic.hit_rate"] == found["semantic.error_over_all"] == pytest.approx(1 / 3)
    assert found["semantic.exploration_cost_ratio"] == pytest.approx(0.00208 / 0.006955)
    assert found["semantic.ideal_hit_rate"] == pytest.approx(1 / 3)


def test_data_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not there"):
        read_arrivals(tmp_path / "none.csv", 3)
    with pytest.raises(DatasetError):
        workload(tmp_path, 3, seed=0)
