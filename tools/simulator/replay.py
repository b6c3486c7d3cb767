"""Recorded outcomes of models: answers that were given, with what they cost."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from tools.simulator.script import Answer, Usage

NAMES = ("outcomes.jsonl.gz", "outcomes.jsonl")


class ReplayError(ValueError):
    """A folder that cannot be replayed; says why."""


class _Row(BaseModel):
    """A line of the file; the README describes the layout. Other fields are of no concern."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: str
    in_tokens: NonNegativeInt
    models: dict[str, tuple[bool, NonNegativeInt, str | None]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One outcome.

    Attributes:
        correct: the answer was right.
        answer: the extracted answer, with its tokens.
    """

    correct: bool
    answer: Answer


class Recordings:
    """Outcomes by prompt and model.

    Args:
        rows: of the file.

    Raises:
        ReplayError: two rows have the same prompt.
    """

    def __init__(self, rows: list[_Row]) -> None:
        self._rows = {row.prompt.strip(): row for row in rows}
        self.models = tuple(sorted({name for row in rows for name in row.models}))
        if len(self._rows) != len(rows):
            raise ReplayError("two rows have the same prompt")

    def find(self, prompt: str, model: str) -> Recorded | None:
        """What `model` said to `prompt`; None if that is not known."""
        row = self._rows.get(prompt.strip())
        outcome = row.models.get(model) if row else None
        if row is None or outcome is None:
            return None
        correct, tokens, text = outcome
        usage = Usage(input=row.in_tokens, output=tokens)
        # Nothing could be extracted from some answers; what they said is not recorded.
        return Recorded(correct, Answer(text=text or "", usage=usage))


def read_recordings(folder: Path) -> Recordings:
    """Reads the outcomes in `folder`.

    Raises:
        ReplayError: they are not there, or not of the layout.
    """
    for name in NAMES:
        path = folder / name
        if path.exists():
            with _opened(path) as lines:
                try:
                    return Recordings([_Row.model_validate_json(line) for line in lines])
                except (ValidationError, OSError) as error:
                    raise ReplayError(f"{path}: {error}") from error
    raise ReplayError(f"{folder} has none of {', '.join(NAMES)}")


def _opened(path: Path) -> BinaryIO:
    # A GzipFile reads as any binary file does, though it is not typed as one.
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
