"""Finds and ends the processes of one mesh, whoever their parent is now.

Every process of a mesh has the state folder in a variable of its environment. That holds when
the supervisor was killed and its children were left behind, and it tells a process of the mesh
from an unrelated one that got a process id out of an old pid file.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from infermesh_local.layout import StateLayout

MARK = "INFERMESH_LOCAL_MESH"
"""Environment variable that holds the state folder."""
_SECONDS_TO_DIE = 10.0
_POLL_S = 0.05


def processes_of(root: Path) -> list[psutil.Process]:
    """The living processes of the mesh in a state folder, the supervisor included."""
    return [process for process in psutil.process_iter() if _belongs(process, root)]


def supervisor_of(layout: StateLayout) -> psutil.Process | None:
    """The living supervisor that the pid file names; None when there is none."""
    try:
        process = psutil.Process(int(layout.pid_file.read_text("ascii")))
    except (OSError, ValueError, OverflowError, psutil.Error):
        # No file, one that holds no process id, or that of a process that ended.
        return None
    return process if _belongs(process, layout.root) else None


def living_after(processes: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that still live when all have ended or the time is over."""
    deadline = time.monotonic() + timeout_s
    while (alive := [p for p in processes if _living(p)]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return alive


def end(processes: Sequence[psutil.Process]) -> None:
    """Ends processes by SIGTERM and, those that take too long, by SIGKILL."""
    for process in processes:
        _signal(process, force=False)
    kill(living_after(processes, _SECONDS_TO_DIE))


def kill(processes: Sequence[psutil.Process]) -> None:
    """Ends processes by SIGKILL."""
    for process in processes:
        _signal(process, force=True)
    living_after(processes, _SECONDS_TO_DIE)


def _signal(process: psutil.Process, *, force: bool) -> None:
    try:
        if force:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return


def _belongs(process: psutil.Process, root: Path) -> bool:
    try:
        # Those of other users cannot be read, and are not ours.
        mark = process.environ().get(MARK)
    except (psutil.Error, OSError):
        return False
    return mark == str(root) and process.pid != os.getpid() and _living(process)


def _living(process: psutil.Process) -> bool:
    # What nobody has waited for yet is dead all the same.
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
