"""What the figures have to reach, as data."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.report import Figure

_COMPARE = {">=": operator.ge, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True)
class Gate:
    """`figure` compared with `factor` x `beside`, or with `factor` alone.

    Attributes:
        figure: name of ours.
        compare: how.
        factor: of the other figure, or the limit itself.
        beside: name of the other figure; empty: there is none.
    """

    figure: str
    compare: Literal[">=", "<=", "<"]
    factor: float
    beside: str = ""


GATES: Sequence[Gate] = (
    Gate("hit_rps", ">=", 2.5, "portkey_rps"),
    Gate("hit_rps", ">=", 0.6, "echo_rps"),
    Gate("miss_rps", ">=", 1.2, "portkey_rps"),
    Gate("miss_rps", ">=", 12, "litellm_rps"),
    Gate("hit_p50_ms", "<=", 0.7, "portkey_p50_ms"),
    Gate("miss_p50_ms", "<=", 1.2, "portkey_p50_ms"),
    Gate("mesh_rss_mb", "<", 400),
)


@dataclass(frozen=True)
class Verdict:
    """A gate with what was measured.

    Attributes:
        gate: it is about.
        value: of the figure; None: not measured.
        other: of the figure beside it, 1 where there is none; None: not measured.
    """

    gate: Gate
    value: float | None
    other: float | None

    @property
    def ratio(self) -> float | None:
        """What is compared with the factor; None: something was not measured."""
        if self.value is None or not self.other:
            return None
        return self.value / self.other

    @property
    def met(self) -> bool | None:
        """None: something was not measured."""
        ratio = self.ratio
        if ratio is None:
            return None
        return bool(_COMPARE[self.gate.compare](ratio, self.gate.factor))

    def __str__(self) -> str:
        gate = self.gate
        state = {True: "met", False: "NOT met", None: "not measured"}[self.met]
        if not gate.beside:
            shown = f"{gate.figure} {_number(self.value)} {gate.compare} {gate.factor:g}"
            return f"{state:12}  {shown}"
        wanted = f"{gate.factor:g} x {gate.beside} {_number(self.other)}"
        ratio = "" if self.ratio is None else f": {self.ratio:.2f} x"
        return f"{state:12}  {gate.figure} {_number(self.value)} {gate.compare} {wanted}{ratio}"


def verdicts(figures: Mapping[str, Figure], gates: Sequence[Gate] = GATES) -> list[Verdict]:
    """Each gate with its figures."""
    return [
        Verdict(
            gate,
            _single(figures.get(gate.figure)),
            _single(figures.get(gate.beside)) if gate.beside else 1.0,
        )
        for gate in gates
    ]


def _single(figure: Figure) -> float | None:
    return None if figure is None or isinstance(figure, dict) else float(figure)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
