"""Real questions and, from their embeddings, vectors in any number with the structure of real ones.

A cache of a million entries holds the same questions in ever other words. So a stored vector is
made of the embeddings of two real questions: the paraphrase pairs of QQP, banking77 and clinc150
have cosines of about 0.6 to 0.95, which sets how far a made vector may lie from its question. It
is `unit(e_i + r (e_j - e_k))` with e_j - e_k the difference of two questions that are themselves
near each other (neighbours in the list of a data set sorted by its labels): perturbations lie in
the directions in which real questions differ, not in all 384, as Gaussian noise would. r is drawn
from [0.2, 1.2]. Lookups are embeddings of questions that were held out of what is stored.
"""

import csv
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from infermesh_cache.semantic_ports import Floats

_LEAST_STEP, _LARGEST_STEP = 0.2, 1.2
_CHUNK = 20_000


def questions(data: Path, most: int, seed: int) -> list[str]:
    """Distinct questions, in an order in which neighbours are about the same thing.

    Args:
        data: folder of the data sets.
        most: how many at most, taken evenly from all of them.
        seed: of the choice.
    """
    found = list(dict.fromkeys([*_banking(data), *_clinc(data), *_qqp(data)]))
    if len(found) <= most:
        return found
    # Whole runs, so that neighbours stay neighbours.
    run = 8
    starts = np.random.default_rng(seed).permutation(len(found) // run)[: most // run]
    return [found[start * run + i] for start in sorted(starts) for i in range(run)]


def _banking(data: Path) -> Iterator[str]:
    for name in ("train.csv", "test.csv"):
        with (data / "banking77" / name).open(encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["category"])
            yield from (row["text"] for row in rows)


def _clinc(data: Path) -> Iterator[str]:
    splits = json.loads((data / "clinc150" / "data_full.json").read_text("utf-8"))
    rows = [row for split in splits.values() for row in split]
    yield from (text for text, _ in sorted(rows, key=lambda row: row[1]))


def _qqp(data: Path) -> Iterator[str]:
    with tarfile.open(data / "qqp_gptcache" / "similiar_qqp_full.json.gz") as archive:
        member = next(item for item in archive.getmembers() if item.isfile())
        file = archive.extractfile(member)
        assert file is not None, "a regular file"
        for pair in json.load(file):
            yield pair["text_a"]
            yield pair["text_b"]


def perturbed(
    base: Floats, count: int, seed: int
) -> Iterator[tuple[Floats, npt.NDArray[np.int64]]]:
    """`count` vectors in chunks, each with the numbers of the questions they come from."""
    random = np.random.default_rng(seed)
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        chosen = random.integers(len(base), size=size)
        one = random.integers(len(base) - 8, size=size)
        other = one + random.integers(1, 8, size=size)
        step = random.uniform(_LEAST_STEP, _LARGEST_STEP, size=(size, 1)).astype(np.float32)
        made = base[chosen] + step * (base[one] - base[other])
        yield made / np.linalg.norm(made, axis=1, keepdims=True), chosen
