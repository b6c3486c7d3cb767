"""Where promtool is: in the PATH, else taken out of Debian's package, without installing it.

`python -m tools.promtool check rules FILE...` runs it. No package of Python carries it; where it
can neither be found nor be fetched the check is left out with a sentence. The rules' expressions
are parsed by the chart's own tests all the same.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.cluster_tools import ROOT, ToolMissing

_FETCH_S = 120


def promtool_path(folder: Path = ROOT / "build" / "tools" / "prometheus") -> Path:
    """The promtool command.

    Args:
        folder: where it is unpacked to, once.

    Raises:
        ToolMissing: there is none, and no Debian to take it from.
    """
    if found := shutil.which("promtool"):
        return Path(found)
    tool = folder / "usr" / "bin" / "promtool"
    if not tool.exists():
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise ToolMissing("no promtool in the PATH, and no Debian to take it from")
        with tempfile.TemporaryDirectory() as fetched:
            _run(["apt-get", "download", "-q", "prometheus"], fetched)
            (package,) = Path(fetched).glob("prometheus_*.deb")
            _run(["dpkg-deb", "-x", str(package), str(folder)], fetched)
    return tool


def _run(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_FETCH_S
        )
    except subprocess.TimeoutExpired:
        raise ToolMissing(f"{command[0]} has not ended within {_FETCH_S} s") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ToolMissing(f"{command[0]} could not fetch promtool: {said}")


def main(arguments: list[str]) -> int:
    """Runs promtool; without one says so and succeeds."""
    try:
        promtool = promtool_path()
    except ToolMissing as error:
        print(f"promtool is left out: {error}", file=sys.stderr)
        return 0
    return subprocess.run([str(promtool), *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
