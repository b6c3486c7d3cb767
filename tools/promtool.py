"""Where promtool is: in the PATH, else taken out of Debian's package, without installing it.

No package of Python carries it; where it can neither be found nor be fetched the check that uses it
is skipped with a sentence. The rules' expressions are parsed by the chart's own tests all the same.
"""

import shutil
import subprocess
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
