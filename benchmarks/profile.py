"""Where a process spends its time: samples of py-spy, by function."""

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hot:
    """A function that was seen.

    Attributes:
        function: with its file.
        own_percent: share of the samples in which it was the innermost.
        total_percent: share of the samples in which it was anywhere on the stack.
    """

    function: str
    own_percent: float
    total_percent: float


def hottest(pid: int, seconds: int, most: int) -> list[Hot] | None:
    """Functions by their own share of the time that the GIL is held, the hottest first.

    Empty when the process did nothing; None when py-spy may not look into it (it needs ptrace:
    root, or the same user with kernel.yama.ptrace_scope = 0).
    """
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "samples"
        spy = Path(sys.executable).parent / "py-spy"
        command = [str(spy), "record", "--pid", str(pid), "--duration", str(seconds)]
        options = ["--gil", "--function", "--rate", "200", "--format", "raw"]
        done = subprocess.run(
            [*command, *options, "--output", str(raw)],
            capture_output=True,
            check=False,
            timeout=seconds + 60,
        )
        if done.returncode or not raw.is_file():
            return None
        return ranked(raw.read_text().splitlines(), most)


def lines_of(found: Sequence[Hot] | None) -> list[str]:
    """A line for each function, to print."""
    if found is None:
        return ["  py-spy may not look into the process (it needs ptrace)"]
    if not found:
        return ["  nothing: it was idle"]
    return [
        f"  {hot.own_percent:5.1f} % {hot.total_percent:5.1f} %  {hot.function}" for hot in found
    ]


def ranked(lines: Iterable[str], most: int) -> list[Hot]:
    """Ranks folded stacks, each `outer;...;inner count`."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    samples = 0
    for line in lines:
        stack, _, number = line.rpartition(" ")
        frames, count = stack.split(";"), int(number)
        samples += count
        own[frames[-1]] += count
        for frame in set(frames):
            total[frame] += count
    return [
        Hot(name, 100 * count / samples, 100 * total[name] / samples)
        for name, count in own.most_common(most)
    ]
