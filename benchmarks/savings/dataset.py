"""Recorded prompts, and what each model answered to them.

A folder in the layout of `zeroeval_routing`: `outcomes.jsonl.gz`, one JSON object a line with task,
id, prompt, in_tokens and models {name: [correct 0/1, output tokens, ...]}; `prices.json`, which
models may be chosen and what they charge in US dollars per million tokens.
"""

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

OUTCOMES = "outcomes.jsonl.gz"
PRICES = "prices.json"
DEFAULT_NAME = "zeroeval_routing"
# OpenAI bills the reasoning of its o models as output; the records hold the visible output only.
_HIDDEN_REASONING = re.compile(r"o\d")
_MILLION = Decimal(1_000_000)


class DatasetError(Exception):
    """The data is missing or is not what it should be; says which, in a sentence."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: Decimal
    output: Decimal

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """US dollars for so many tokens, exact."""
        return (self.input * input_tokens + self.output * output_tokens) / _MILLION


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one model did with one prompt."""

    correct: bool
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt.

    Attributes:
        task: kind of task, as an application would name it.
        id: unique within the task.
        prompt: the user's whole message.
        input_tokens: its length.
        outcomes: by the name of the model.
    """

    task: str
    id: str
    prompt: str
    input_tokens: int
    outcomes: Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything recorded.

    Attributes:
        name: of the folder.
        rows: the prompts; every model of `prices` has an outcome for each.
        prices: what each model charges for the tokens that are recorded.
    """

    name: str
    rows: tuple[Row, ...]
    prices: Mapping[str, Price]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, in order."""
        return tuple(sorted(self.prices))

    @property
    def priceable(self) -> tuple[str, ...]:
        """Models whose cost is known: not those that charge for tokens nobody recorded."""
        return tuple(name for name in self.models if not has_hidden_tokens(name))

    def cost(self, row: Row, model: str) -> Decimal:
        """US dollars of the recorded tokens of `model` for `row`."""
        return self.prices[model].cost(row.input_tokens, row.outcomes[model].output_tokens)


def has_hidden_tokens(model: str) -> bool:
    """Whether `model` charges for reasoning that is not in the recorded output."""
    return _HIDDEN_REASONING.match(model) is not None


def dataset_folder(root: Path, environment: Mapping[str, str]) -> Path:
    """Where the data stands: DATASET, or its usual folder below INFERMESH_DATA.

    Args:
        root: of the repository; INFERMESH_DATA defaults to `../shared/data` beside it.
        environment: of the process.
    """
    if named := environment.get("DATASET"):
        return Path(named)
    data = environment.get("INFERMESH_DATA") or root.parent / "shared" / "data"
    return Path(data) / DEFAULT_NAME


def load(folder: Path) -> Dataset:
    """Reads the folder.

    Raises:
        DatasetError: a file is missing or not in the layout.
    """
    for name in (OUTCOMES, PRICES):
        if not (folder / name).is_file():
            raise DatasetError(
                f"This benchmark replays recorded outcomes, and {folder / name} does not exist: "
                f"set DATASET to a folder that holds {OUTCOMES} and {PRICES}, or INFERMESH_DATA to "
                f"the folder that holds {DEFAULT_NAME}."
            )
    try:
        prices = _prices(json.loads((folder / PRICES).read_text("utf-8")))
        with gzip.open(folder / OUTCOMES, "rt", encoding="utf-8") as lines:
            rows = [_row(json.loads(line)) for line in lines if line.strip()]
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise DatasetError(f"{folder} is not in the layout of {DEFAULT_NAME}: {error!r}") from error
    return _checked(folder, rows, prices)


def _checked(folder: Path, rows: Sequence[Row], prices: Mapping[str, Price]) -> Dataset:
    """Keeps the models that answered every prompt: others cannot be replayed."""
    complete = {name: p for name, p in prices.items() if all(name in r.outcomes for r in rows)}
    if not rows or not complete:
        raise DatasetError(f"{folder} holds no prompt that every priced model answered.")
    if len({row.prompt.strip() for row in rows}) != len(rows):
        raise DatasetError(f"{folder} holds a prompt twice: its outcome would be ambiguous.")
    return Dataset(folder.resolve().name, tuple(rows), complete)


def _prices(document: Mapping[str, Mapping[str, Mapping[str, str]]]) -> dict[str, Price]:
    return {
        name: Price(Decimal(rates["input"]), Decimal(rates["output"]))
        for name, rates in document["pool"].items()
    }


def _row(record: Mapping[str, object]) -> Row:
    models = record["models"]
    if not isinstance(models, dict):
        raise ValueError("'models' must be an object")
    return Row(
        task=str(record["task"]),
        id=str(record["id"]),
        prompt=str(record["prompt"]),
        input_tokens=int(str(record["in_tokens"])),
        outcomes={
            name: Outcome(correct=bool(values[0]), output_tokens=int(values[1]))
            for name, values in models.items()
        },
    )
