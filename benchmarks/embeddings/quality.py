"""How far cosines tell questions of one answer from others.

Of labelled questions (same label: same answer) some are stored and the others asked, each served by
its nearest if their cosine reaches a threshold. Of pairs, one is stored and one asked.
`hit_rate`: share served at the best single threshold, in hindsight, at which at most `DELTA` of all
that were asked are served wrongly. `area`: chance that the cosine of a right nearest is above that
of a wrong one.
"""

import csv
import json
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from infermesh_cache.application.embedding_engine import BatchingEmbeddingEngine

DELTA = 0.01
STORED, ASKED, PAIRS = 500, 300, 300
SEED = 7


@dataclass(frozen=True, slots=True)
class Labelled:
    """Questions of one set.

    Attributes:
        stored: texts.
        asked: texts.
        right: whether `stored[column]` answers `asked[row]`.
        paired: whether each row may be served by its own column only.
    """

    stored: list[str]
    asked: list[str]
    right: npt.NDArray[np.bool_]
    paired: bool


def read_sets(data: Path) -> dict[str, Labelled]:
    """The sets that are there, by name."""
    sets: dict[str, Labelled] = {}
    banking, clinc, qqp = data / "banking77", data / "clinc150", data / "qqp_gptcache"
    if (banking / "train.csv").exists():
        with (banking / "train.csv").open(encoding="utf-8") as file:
            rows = [(row["text"], row["category"]) for row in csv.DictReader(file)]
        sets["banking77"] = _labelled(rows)
    if (clinc / "data_full.json").exists():
        full = json.loads((clinc / "data_full.json").read_text("utf-8"))
        sets["clinc150"] = _labelled([(text, label) for text, label in full["train"]])
    if (qqp / "similiar_qqp_full.json.gz").exists():
        with tarfile.open(qqp / "similiar_qqp_full.json.gz") as archive:
            content = archive.extractfile(archive.getmembers()[0])
            assert content is not None
            pairs = random.Random(SEED).sample(json.load(content), PAIRS)
        sets["qqp"] = Labelled(
            [pair["text_a"] for pair in pairs],
            [pair["text_b"] for pair in pairs],
            np.diag([int(pair["label"]) == 1 for pair in pairs]),
            paired=True,
        )
    return sets


def _labelled(rows: list[tuple[str, str]]) -> Labelled:
    drawn = random.Random(SEED).sample(rows, STORED + ASKED)
    stored, asked = drawn[:STORED], drawn[STORED:]
    labels = np.array([label for _, label in stored])
    right = np.array([labels == label for _, label in asked])
    return Labelled([text for text, _ in stored], [text for text, _ in asked], right, paired=False)


async def quality(engine: BatchingEmbeddingEngine, data: Labelled) -> dict[str, float]:
    """`hit_rate` and `area` of a model on a set."""
    stored, asked = await engine.embed(data.stored), await engine.embed(data.asked)
    cosines = asked @ stored.T
    columns = np.arange(len(asked)) if data.paired else cosines.argmax(axis=1)
    rows = np.arange(len(asked))
    return rates(cosines[rows, columns], data.right[rows, columns])


def rates(cosines: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> dict[str, float]:
    """`hit_rate` and `area` of nearest neighbours, by their cosines and whether they are right."""
    order = np.argsort(-cosines, kind="stable")
    wrong = np.cumsum(~right[order])
    # A threshold serves all of one cosine or none.
    last = np.append(np.diff(cosines[order]) != 0, True)
    allowed = np.flatnonzero(last & (wrong <= DELTA * len(cosines)))
    hit_rate = float(allowed[-1] + 1) / len(cosines) if len(allowed) else 0.0
    above = cosines[right][:, None] - cosines[~right][None, :]
    area = float((above > 0).mean() + (above == 0).mean() / 2) if above.size else 1.0
    return {"hit_rate": hit_rate, "area": area}
