"""DriftAlarm: an e-detector of forecasts that have become too good to be true.

Every outcome that the calibration is learnt from is first a bet against it: the statistic of
each alternative is multiplied by how much likelier the outcome is when errors were more frequent
than forecast by a share of the remainder (Shin, Ramdas and Rinaldo, "E-detectors", 2022; the
recursion is Shiryaev's and Roberts'). While the odds of being wrong stay below `TOLERANCE` times
those forecast, its mean after n outcomes is at most n: the alarm comes falsely after fewer than
`THRESHOLD` outcomes on average never more often than once.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from infermesh_cache.domain.semantic.packing import BadState

THRESHOLD = 20_000.0
"""Outcomes known between false alarms, at least, on average."""
SUSPICION = 100.0
"""Above it, most of what would be served is looked into."""
TOLERANCE = 1.5
_EXCESSES: npt.NDArray[np.float64] = np.array([0.05, 0.2, 0.6])


class DriftAlarm:
    """The statistic.

    Args:
        statistics: of each alternative, to continue with.
    """

    def __init__(self, statistics: Sequence[float] | None = None) -> None:
        start = np.zeros(len(_EXCESSES)) if statistics is None else np.array(statistics, float)
        if start.shape != _EXCESSES.shape or not np.isfinite(start).all() or (start < 0).any():
            raise BadState("a drift alarm of another form")
        self._statistics = start

    def observe(self, probability: float, wrong: bool) -> None:
        """Takes a proposal forecast to be wrong with `probability` and what it turned out to be."""
        odds = TOLERANCE * probability / max(1 - probability, 1e-9)
        null = min(max(odds / (1 + odds), 1e-4), 1 - 1e-4)
        excess = null + _EXCESSES * (1 - null)
        ratio = excess / null if wrong else (1 - excess) / (1 - null)
        self._statistics = np.minimum((1 + self._statistics) * ratio, 1e12)

    @property
    def level(self) -> float:
        """The statistic, averaged over the alternatives."""
        return float(self._statistics.mean())

    @property
    def rings(self) -> bool:
        """Whether the forecasts no longer hold."""
        return self.level >= THRESHOLD

    @property
    def suspects(self) -> bool:
        """Whether there is reason to look closer."""
        return self.level >= SUSPICION

    def state(self) -> dict[str, object]:
        """What `restore` takes; of JSON's types."""
        return {"statistics": self._statistics.tolist()}

    @classmethod
    def restore(cls, state: Mapping[str, object]) -> "DriftAlarm":
        """The alarm whose `state` that is."""
        statistics = state.get("statistics")
        if not isinstance(statistics, list):
            raise BadState("a drift alarm of another form")
        return cls([float(value) for value in statistics])
