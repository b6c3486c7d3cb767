"""Sets of questions in which those of one label have the same answer."""

import csv
import json
import random
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PAIRS = "similiar_qqp_full.json.gz"
_IN_GROUPS = 0.75


class NoSuchSet(ValueError):
    """A folder of none of the layouts. The message says which there are."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Questions and what they ask for.

    Attributes:
        name: of the folder.
        texts: questions, each once.
        labels: of each; equal labels have equal answers.
        lone: positions of questions that no other has the label of but that look like others; None:
            a stream is drawn from all alike.
    """

    name: str
    texts: list[str]
    labels: list[int]
    lone: list[int] | None = None

    def stream(self, seed: int, length: int) -> list[int]:
        """Positions in a random order: of a set of pairs three quarters in whole groups of equal
        answers, one quarter pairs that are alike and differ; else a sample without replacement.
        """
        drawn = random.Random(seed)
        if self.lone is None:
            return drawn.sample(range(len(self.texts)), min(length, len(self.texts)))
        groups = defaultdict(list)
        for position, label in enumerate(self.labels):
            groups[label].append(position)
        several = [members for members in groups.values() if len(members) > 1]
        drawn.shuffle(several)
        chosen: list[int] = []
        for members in several:
            if len(chosen) >= _IN_GROUPS * length:
                break
            chosen += members
        chosen = chosen[: int(_IN_GROUPS * length)]
        known = set(chosen)
        # Pairs stand together: two and two.
        pairs = list(zip(self.lone[::2], self.lone[1::2], strict=True))
        drawn.shuffle(pairs)
        for position in (each for pair in pairs for each in pair):
            if position not in known and len(chosen) < length:
                known.add(position)
                chosen.append(position)
        drawn.shuffle(chosen)
        return chosen


def read(folder: Path) -> Labelled:
    """A set of the layout of banking77, clinc150 or qqp_gptcache.

    Raises:
        NoSuchSet: it is none of these.
    """
    if list(folder.glob("*.csv")):
        return _numbered(folder.name, _rows_of_csv(folder))
    if (folder / "data_full.json").is_file():
        return _numbered(folder.name, _rows_of_splits(folder / "data_full.json"))
    if (folder / _PAIRS).is_file():
        return _of_pairs(folder.name, folder / _PAIRS)
    raise NoSuchSet(
        f"{folder}: neither CSV files with text and category, nor data_full.json, nor {_PAIRS}"
    )


def _numbered(name: str, rows: Iterable[tuple[str, str]]) -> Labelled:
    label_of = dict(rows)
    numbers: dict[str, int] = {}
    labels = [numbers.setdefault(label, len(numbers)) for label in label_of.values()]
    return Labelled(name, list(label_of), labels)


def _rows_of_csv(folder: Path) -> Iterable[tuple[str, str]]:
    for file in sorted(folder.glob("*.csv")):
        with file.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                yield row["text"], row["category"]


def _rows_of_splits(file: Path) -> Iterable[tuple[str, str]]:
    splits = json.loads(file.read_text("utf-8"))
    for rows in splits.values():
        for text, intent in rows:
            # What is out of scope has nothing in common.
            yield text, f"oos: {text}" if intent == "oos" else intent


def _of_pairs(name: str, file: Path) -> Labelled:
    with tarfile.open(file) as archive:
        (member,) = [m for m in archive.getmembers() if m.name.endswith(".json")]
        content = archive.extractfile(member)
        assert content is not None
        pairs = json.load(content)
    numbers: dict[str, int] = {}
    rows = [
        (
            numbers.setdefault(pair["text_a"], len(numbers)),
            numbers.setdefault(pair["text_b"], len(numbers)),
            bool(pair["label"]),
        )
        for pair in pairs
    ]
    parents = list(range(len(numbers)))

    def root(position: int) -> int:
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    for left, right, same in rows:
        if same:
            parents[root(left)] = root(right)
    labels = [root(position) for position in range(len(numbers))]
    sizes: dict[int, int] = defaultdict(int)
    for label in labels:
        sizes[label] += 1
    lone = [
        position
        for left, right, same in rows
        if not same and sizes[labels[left]] == sizes[labels[right]] == 1
        for position in (left, right)
    ]
    return Labelled(name, list(numbers), labels, lone)
