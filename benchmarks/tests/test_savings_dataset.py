"""The records are read as they stand, or refused with a sentence."""

import gzip
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.savings.__main__ import main
from benchmarks.savings.dataset import (
    OUTCOMES,
    PRICES,
    DatasetError,
    Outcome,
    Price,
    dataset_folder,
    load,
)

_PRICES = {"good": ("2.5", "10"), "cheap": ("0.15", "0.6"), "o1-mini": ("3", "12")}


def _record(number: int, models: Mapping[str, Sequence[object]]) -> dict[str, object]:
    return {
        "task": "sums",
        "id": str(number),
        "prompt": f"What is {number} and {number}?",
        "question": "-",
        "answer": "-",
        "in_tokens": 10 + number,
        "models": dict(models),
    }


def _write(folder: Path, records: Sequence[object]) -> Path:
    pool = {name: {"input": i, "output": o} for name, (i, o) in _PRICES.items()}
    (folder / PRICES).write_text(json.dumps({"unit": "USD per million tokens", "pool": pool}))
    with gzip.open(folder / OUTCOMES, "wt") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    return folder


def test_records_and_prices_are_read_as_they_stand(tmp_path: Path) -> None:
    models = {
        "good": [1, 20, "4"],
        "cheap": [0, 30, "5"],
        "o1-mini": [1, 2, "4"],
        "old": [0, 1, ""],
    }
    dataset = load(_write(tmp_path, [_record(1, models)]))
    (row,) = dataset.rows
    assert (row.task, row.id, row.input_tokens) == ("sums", "1", 11)
    assert row.outcomes["cheap"] == Outcome(correct=False, output_tokens=30)
    assert dataset.prices["good"] == Price(Decimal("2.5"), Decimal(10))
    assert dataset.models == ("cheap", "good", "o1-mini")
    assert dataset.cost(row, "cheap") == Decimal("0.00001965")


def test_the_cost_of_a_model_with_hidden_reasoning_is_not_known(tmp_path: Path) -> None:
    models = {name: [1, 5, ""] for name in _PRICES}
    assert load(_write(tmp_path, [_record(1, models)])).priceable == ("cheap", "good")


def test_a_model_that_did_not_answer_every_prompt_is_left_out(tmp_path: Path) -> None:
    records = [
        _record(1, {"good": [1, 5, ""], "cheap": [1, 5, ""]}),
        _record(2, {"good": [1, 5, ""]}),
    ]
    assert load(_write(tmp_path, records)).models == ("good",)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [_record(1, {})],
        [_record(1, {"good": [1, 5, ""]}), _record(1, {"good": [0, 5, ""]})],
        [{"task": "sums"}],
        [_record(1, {"good": []})],
        ["text"],
    ],
    ids=["empty", "no model", "a prompt twice", "fields missing", "outcome empty", "not an object"],
)
def test_other_data_is_refused(tmp_path: Path, records: Sequence[object]) -> None:
    with pytest.raises(DatasetError, match="holds|layout"):
        load(_write(tmp_path, records))


def test_the_folder_is_the_one_named() -> None:
    root = Path("/somewhere/main")
    assert dataset_folder(root, {}) == Path("/somewhere/shared/data/zeroeval_routing")
    assert dataset_folder(root, {"INFERMESH_DATA": "/data"}) == Path("/data/zeroeval_routing")
    both = {"INFERMESH_DATA": "/data", "DATASET": "/other"}
    assert dataset_folder(root, both) == Path("/other")


def test_without_data_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATASET", str(tmp_path / "nowhere"))
    assert main([]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "nowhere" / OUTCOMES) in sentence
    assert "DATASET" in sentence
