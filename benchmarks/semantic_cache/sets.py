"""What is run: sets, the share that may be wrong, how many requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import ROOT
from benchmarks.semantic_cache.embedding import MODELS, Floats, vectors_of
from benchmarks.semantic_cache.labelled import Labelled, NoSuchSet, read
from infermesh_cache.domain.semantic.wording import Wording

USUAL = ("banking77", "clinc150", "qqp_gptcache")


@dataclass(frozen=True, slots=True)
class Task:
    """What is run.

    Attributes:
        folder: of the set.
        model: of the embedding.
        delta: share of all requests that may be answered wrongly.
        requests: of an order.
    """

    folder: Path
    model: str
    delta: float
    requests: int


_loaded: dict[Path, tuple[Labelled, Floats, list[Wording]]] = {}


def load(task: Task) -> tuple[Labelled, Floats, list[Wording]]:
    """A set, its vectors and its wordings; kept for the next time."""
    if task.folder not in _loaded:
        found = read(task.folder)
        vectors = vectors_of(task.model, found.texts)
        _loaded[task.folder] = found, vectors, [Wording.of(text) for text in found.texts]
    return _loaded[task.folder]


def folders(environment: Mapping[str, str]) -> list[Path]:
    """The sets to run.

    Raises:
        NoSuchSet: there is none.
    """
    if named := environment.get("DATASET"):
        wanted = [Path(named)]
    else:
        data = Path(environment.get("INFERMESH_DATA") or ROOT.parent / "shared" / "data")
        wanted = [data / name for name in USUAL]
    for folder in wanted:
        if not folder.is_dir():
            raise NoSuchSet(f"{folder} is not there: set DATASET to a folder, or INFERMESH_DATA")
    return wanted


def tasks_of(environment: Mapping[str, str], sets: list[Path]) -> list[Task]:
    """What to run on each set."""
    model = environment.get("MODEL") or next(iter(MODELS))
    delta, requests = float(environment.get("DELTA", "0.01")), environment.get("REQUESTS", "8000")
    return [Task(folder, model, delta, int(requests)) for folder in sets]
