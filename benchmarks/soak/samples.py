"""Memory and open files of processes over time, and whether they grow."""

import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

EVERY_S = 5.0
WARM_UP_SHARE = 0.25
MOST_MB_PER_MINUTE = 1.0
LONG_RUN_MINUTES = 15.0
_BLOCKS = 9
# One-sided 95 % of Student's t with `_BLOCKS` - 2 degrees of freedom.
_T = 1.895
POOLED = 32
"""Connections that bounded pools of a process may add when a machine that stalls makes more
requests overlap. What leaks with a kind of request or fault comes by the hundred."""
MB = 1e6


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment.

    Attributes:
        at_s: since the sampling began.
        rss_mb: resident MB (10^6 bytes).
        descriptors: open files.
    """

    at_s: float
    rss_mb: float
    descriptors: int


class Sampler:
    """Looks at processes every `EVERY_S` seconds, in a thread.

    Args:
        pids: by name.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.samples: dict[str, list[Sample]] = {name: [] for name in pids}
        self.gone: list[str] = []

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            for name, process in self._processes.items():
                try:
                    memory, descriptors = process.memory_info().rss, process.num_fds()
                except psutil.NoSuchProcess:
                    if name not in self.gone:
                        self.gone.append(name)
                    continue
                at_s = time.monotonic() - began
                self.samples[name].append(Sample(at_s, memory / MB, descriptors))
            self._stop.wait(EVERY_S)


@dataclass(frozen=True, slots=True)
class Trend:
    """How a process has grown after the warm-up.

    Attributes:
        mb_per_minute: slope of its memory.
        margin: half of the interval of confidence of that (90 %, or 95 % to one side).
        growth_mb: between the first and the last ninth.
        rss_mb: at the end.
        minutes: looked at.
        first, last: least number of open files in the first and the last third: what hangs or
            comes in bursts is closed again, what leaks is not.
    """

    mb_per_minute: float
    margin: float
    growth_mb: float
    rss_mb: float
    minutes: float
    first: int
    last: int

    @property
    def leaks_memory(self) -> bool:
        """In a long run: the slope is above the bound. In a short one chance decides too much for
        that: the slope is above it with 95 % confidence."""
        sure = 0.0 if self.minutes >= LONG_RUN_MINUTES * (1 - WARM_UP_SHARE) else self.margin
        return self.mb_per_minute - sure > MOST_MB_PER_MINUTE

    @property
    def leaks_descriptors(self) -> bool:
        """More are always open in the last third than in the first, by more than chance makes."""
        return self.last > self.first + POOLED


def trend(samples: Sequence[Sample]) -> Trend:
    """Of the samples after the warm-up, the first quarter of them.

    The slope is that of means of nine blocks: neighbouring samples are much alike, and a line
    through all of them would seem surer than it is.

    Raises:
        ValueError: there are fewer than nine.
    """
    kept = samples[round(len(samples) * WARM_UP_SHARE) :]
    if len(kept) < _BLOCKS:
        raise ValueError(f"{len(kept)} samples after the warm-up are too few")
    bounds = [round(number * len(kept) / _BLOCKS) for number in range(_BLOCKS + 1)]
    blocks = [kept[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
    minutes = [statistics.fmean(sample.at_s for sample in block) / 60 for block in blocks]
    memory = [statistics.fmean(sample.rss_mb for sample in block) for block in blocks]
    line = statistics.linear_regression(minutes, memory)
    residuals = [
        value - line.slope * minute - line.intercept
        for minute, value in zip(minutes, memory, strict=True)
    ]
    middle = statistics.fmean(minutes)
    squares = sum((minute - middle) ** 2 for minute in minutes)
    error = (sum(r * r for r in residuals) / (_BLOCKS - 2) / squares) ** 0.5
    third = len(kept) // 3
    return Trend(
        line.slope,
        _T * error,
        memory[-1] - memory[0],
        kept[-1].rss_mb,
        (kept[-1].at_s - kept[0].at_s) / 60,
        min(sample.descriptors for sample in kept[:third]),
        min(sample.descriptors for sample in kept[-third:]),
    )
