"""Labelled proposals, the newest of them, for fitting the error model."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from infermesh_cache.domain.semantic.packing import BadState, pack, unpack

Doubles = npt.NDArray[np.float64]

CAPACITY = 8192


class Examples:
    """A bounded list of features and outcomes, oldest dropped first.

    Args:
        capacity: how many are kept.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._features: list[Doubles] = []
        self._wrong: list[float] = []
        self.seen = 0
        """How many there ever were, those dropped included."""

    def __len__(self) -> int:
        return len(self._wrong)

    def add(self, features: Doubles, wrong: bool) -> None:
        """Keeps one more."""
        self._features.append(features)
        self._wrong.append(float(wrong))
        self.seen += 1
        if len(self._wrong) > self._capacity * 5 // 4:
            del self._features[: -self._capacity], self._wrong[: -self._capacity]

    def latest(self, count: int) -> "Examples":
        """The newest so many, in a list of their own."""
        kept = Examples(self._capacity)
        if count > 0:
            kept._features, kept._wrong = self._features[-count:], self._wrong[-count:]
            kept.seen = len(kept)
        return kept

    def arrays(self) -> tuple[Doubles, Doubles]:
        """Features, shape (examples, features), and 1 where the proposal was wrong, else 0."""
        return np.array(self._features), np.array(self._wrong)

    def state(self) -> dict[str, object]:
        """What `restore` takes; of JSON's types."""
        features, wrong = self.arrays()
        return {
            "features": pack(features.astype(np.float32)),
            "wrong": pack(wrong),
            "seen": self.seen,
        }

    @classmethod
    def restore(cls, state: Mapping[str, object]) -> "Examples":
        """The examples whose `state` that is.

        Raises:
            BadState: it is of another form.
        """
        features = unpack(state["features"], np.float32).astype(np.float64)
        wrong = unpack(state["wrong"], np.float64)
        if wrong.ndim != 1 or len(features) != len(wrong):
            raise BadState("examples without their outcomes")
        examples = cls()
        examples._features, examples._wrong = list(features), wrong.tolist()
        examples.seen = int(str(state["seen"]))
        return examples
