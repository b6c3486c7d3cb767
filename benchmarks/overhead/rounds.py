"""Interleaved rounds of measurements, and the figures that come of them."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.load import LoadError
from benchmarks.open_loop import Latencies, percentile
from benchmarks.overhead.contenders import Contender
from benchmarks.overhead.measure import Unfit
from benchmarks.processes import NotReady

_WARM_UP_SECONDS = 2


@dataclass
class Outcome:
    """What rounds gave.

    Attributes:
        samples: values by figure, one a round.
        faults: why a contender was given up, by its name.
        notes: what is worth knowing about the figures, by figure.
    """

    samples: dict[str, list[float]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)

    def add(self, figure: str, value: float) -> None:
        """One more sample."""
        self.samples.setdefault(figure, []).append(value)

    def median(self, figure: str) -> float | None:
        """Of the samples; None: there are none."""
        values = self.samples.get(figure)
        return statistics.median(values) if values else None


class Measures(Protocol):
    """What rounds are made of; `Meter` is one."""

    def throughput(self, contender: Contender, seconds: int | None = None) -> float:
        """Requests per second."""
        ...

    def median(self, contender: Contender) -> float:
        """Median latency at one connection, in milliseconds."""
        ...

    def tail(self, contender: Contender, rate: float) -> Latencies:
        """Latencies at a fixed rate."""
        ...


class Rounds:
    """Runs them.

    Args:
        meter: measures.
        contenders: in their order.
        say: is told how it goes, a line at a time.
    """

    def __init__(
        self, meter: Measures, contenders: Sequence[Contender], say: Callable[[str], None]
    ) -> None:
        self._meter = meter
        self._contenders = contenders
        self._say = say
        self.outcome = Outcome()

    def run(self, rounds: int) -> Outcome:
        """Warms up, then measures; a contender that fails is given up and said so."""
        self._say("warming up")
        for contender in self._fit():
            self._guarded(contender, self._warm_up)
        for number in range(rounds):
            # Another one begins each round: none always follows the same neighbour.
            fit = self._fit()
            turn = number % max(1, len(fit))
            for contender in fit[turn:] + fit[:turn]:
                self._guarded(contender, self._throughput)
            for contender in self._fit():
                if contender.median:
                    self._guarded(contender, self._median)
            self._say(f"round {number + 1} of {rounds}: {self._last()}")
        for _ in range(rounds):
            for contender in self._fit():
                if contender.tail:
                    self._guarded(contender, self._tail)
        return self.outcome

    def _fit(self) -> list[Contender]:
        return [one for one in self._contenders if one.name not in self.outcome.faults]

    def _guarded(self, contender: Contender, step: Callable[[Contender], None]) -> None:
        try:
            step(contender)
        except (LoadError, NotReady, Unfit) as error:
            self.outcome.faults[contender.name] = str(error)
            # Its figures would be of rounds that others were not in.
            for figure in contender.figures():
                self.outcome.samples.pop(figure, None)
            self._say(f"{contender.name} is given up: {error}")

    def _warm_up(self, contender: Contender) -> None:
        self._meter.throughput(contender, _WARM_UP_SECONDS)

    def _throughput(self, contender: Contender) -> None:
        self.outcome.add(f"{contender.name}_rps", self._meter.throughput(contender))

    def _median(self, contender: Contender) -> None:
        self.outcome.add(f"{contender.name}_p50_ms", self._meter.median(contender))

    def _tail(self, contender: Contender) -> None:
        saturation = self.outcome.median(f"{contender.name}_rps")
        assert saturation is not None, "throughput is measured before"
        done = self._meter.tail(contender, saturation / 2)
        self.outcome.add(f"{contender.name}_p99_ms", done.p99_ms)
        late = f"{contender.name}_generator_late_p99_ms"
        known = self.outcome.notes.get(late, 0.0)
        self.outcome.notes[late] = max(known, percentile(done.late_ms, 99))

    def _last(self) -> str:
        values = self.outcome.samples.items()
        return ", ".join(f"{name} {samples[-1]:,.2f}" for name, samples in values)
