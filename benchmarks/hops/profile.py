"""Where a process spends its time: samples of py-spy, by function."""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path


def hottest(pid: int, seconds: int, most: int) -> list[tuple[str, float]]:
    """Functions by their share of the time that the GIL is held, in percent, the hottest first.

    Empty when py-spy may not look into the process (it needs ptrace: root, or the same user with
    kernel.yama.ptrace_scope = 0).
    """
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "samples"
        spy = Path(sys.executable).parent / "py-spy"
        command = [str(spy), "record", "--pid", str(pid), "--duration", str(seconds)]
        done = subprocess.run(
            [*command, "--gil", "--rate", "200", "--format", "raw", "--output", str(raw)],
            capture_output=True,
            check=False,
            timeout=seconds + 60,
        )
        if done.returncode or not raw.is_file():
            return []
        own: Counter[str] = Counter()
        for line in raw.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            own[stack.rpartition(";")[2]] += int(count)
    total = sum(own.values())
    return [(name, 100 * count / total) for name, count in own.most_common(most)]
