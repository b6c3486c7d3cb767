"""Evidence: the counters from which the bound on wrong answers is computed, and nothing else.

Forecasts of the error model are rounded to bins of log-odds, so that everything that was ever
served or found out is a handful of counts. Counts of several replicas add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infermesh_cache.domain.semantic.packing import BadState, pack, unpack

Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

BIN_WIDTH = 0.2
"""Of log-odds: a forecast is rounded by at most a tenth of its odds."""
_REACH = 46
BINS = 2 * _REACH + 1
CENTRES: Doubles = np.arange(-_REACH, _REACH + 1, dtype=np.float64) * BIN_WIDTH
"""Log-odds of the forecast that stands for each bin; from 1e-4 to 1 - 1e-4."""


def bin_of(probability: float) -> int:
    """The bin of a forecast; one that is no number counts as certainly wrong."""
    if not probability > 0:
        return 0 if probability == 0 else BINS - 1
    if probability >= 1:
        return BINS - 1
    odds = np.log(probability / (1 - probability))
    return int(np.clip(np.rint(odds / BIN_WIDTH), -_REACH, _REACH)) + _REACH


def forecast_of(position: int) -> float:
    """The forecast that stands for a bin."""
    return float(1 / (1 + np.exp(-CENTRES[position])))


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What happened in one regime.

    Attributes:
        regime: counts up when a drift has been seen; evidence of different regimes does not add.
        requests: all that came, of whatever outcome, earlier regimes included.
        known_wrong: served answers of which it is known that they were wrong, besides what the
            counts say: reported by users, or charged for a drift.
        served: answers served by bin of their forecast, shape (BINS,).
        right: proposals found right, by bin.
        wrong: proposals found wrong, by bin.
    """

    regime: int
    requests: int
    known_wrong: int
    served: Counts
    right: Counts
    wrong: Counts

    @classmethod
    def none(cls, regime: int = 0, requests: int = 0, known_wrong: int = 0) -> "Evidence":
        """That of a beginning."""
        zeros = np.zeros(BINS, np.int64)
        return cls(regime, requests, known_wrong, zeros, zeros.copy(), zeros.copy())

    def copy(self) -> "Evidence":
        """The same with counts of its own."""
        return self + Evidence.none(self.regime)

    def __add__(self, other: "Evidence") -> "Evidence":
        """What two replicas saw, each counted from its own zero.

        Raises:
            ValueError: they are of different regimes.
        """
        return self._combined(other, 1)

    def __sub__(self, earlier: "Evidence") -> "Evidence":
        """What came since `earlier`: what a replica has to tell the others.

        Raises:
            ValueError: they are of different regimes.
        """
        return self._combined(earlier, -1)

    def _combined(self, other: "Evidence", sign: int) -> "Evidence":
        if self.regime != other.regime:
            raise ValueError(f"evidence of regimes {self.regime} and {other.regime} does not add")
        return Evidence(
            regime=self.regime,
            requests=self.requests + sign * other.requests,
            known_wrong=self.known_wrong + sign * other.known_wrong,
            served=self.served + sign * other.served,
            right=self.right + sign * other.right,
            wrong=self.wrong + sign * other.wrong,
        )

    def state(self) -> dict[str, object]:
        """What `restore` takes; of JSON's types."""
        return {
            "regime": self.regime,
            "requests": self.requests,
            "known_wrong": self.known_wrong,
            "served": pack(self.served),
            "right": pack(self.right),
            "wrong": pack(self.wrong),
        }

    @classmethod
    def restore(cls, state: Mapping[str, object]) -> "Evidence":
        """The evidence whose `state` that is.

        Raises:
            BadState: it is of another form, or of another number of bins.
        """
        served, right, wrong = (
            unpack(state[part], np.int64) for part in ("served", "right", "wrong")
        )
        if any(counts.shape != (BINS,) or (counts < 0).any() for counts in (served, right, wrong)):
            raise BadState("evidence of other bins")
        numbers = [state[part] for part in ("regime", "requests", "known_wrong")]
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise BadState("evidence with counts that are none")
        regime, requests, known_wrong = (int(str(number)) for number in numbers)
        return cls(regime, requests, known_wrong, served, right, wrong)
