"""Which prompts are fitted on and which are replayed: never the same."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.savings.dataset import Row

FIT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Split:
    """Two disjoint parts with the same mix of tasks.

    Attributes:
        seed: it was drawn with.
        fit: what the operator measures the models on.
        replay: what the applications will ask; nothing of it is known to the operator.
    """

    seed: int
    fit: tuple[Row, ...]
    replay: tuple[Row, ...]


def split(rows: Sequence[Row], seed: int, fit_share: float = FIT_SHARE) -> Split:
    """Parts `rows` by chance: of each task, sorted by id and shuffled by `seed` and the name of the
    task, the first `fit_share` are for fitting, the rest for the replay."""
    by_task: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_task[row.task].append(row)
    fit: list[Row] = []
    replay: list[Row] = []
    for task in sorted(by_task):
        shuffled = sorted(by_task[task], key=lambda row: row.id)
        random.Random(f"{seed}:{task}").shuffle(shuffled)
        cut = round(len(shuffled) * fit_share)
        fit += shuffled[:cut]
        replay += shuffled[cut:]
    return Split(seed, tuple(fit), tuple(replay))
