"""What can go wrong, each as one plain sentence for the person at the terminal."""

from collections.abc import Sequence
from pathlib import Path


class LocalMeshError(Exception):
    """Base of all errors of local mode. `str()` of it says what is wrong and what to do."""


class StateUnusable(LocalMeshError):
    """The state folder cannot hold a mesh."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"The state folder {path} cannot be used: {why}.")
        self.path = path


class Incomplete(LocalMeshError):
    """A program or file the mesh is made of is not installed."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what} is not installed. {remedy}")
        self.what = what
        self.remedy = remedy


class Busy(LocalMeshError):
    """Another command starts or stops the mesh of the same state folder at this moment."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"Another command is starting or stopping the mesh in {path}: wait until it is done."
        )


class AlreadyRunning(LocalMeshError):
    """The mesh runs.

    Attributes:
        url: where it is reached.
    """

    def __init__(self, url: str) -> None:
        super().__init__(f"The mesh is running already at {url}. Stop it with `infermesh down`.")
        self.url = url


class NotRunning(LocalMeshError):
    """Nothing of the mesh runs."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"No mesh is running with the state in {path}.")


class PortInUse(LocalMeshError):
    """The port that was asked for is taken.

    Attributes:
        port: the port.
    """

    def __init__(self, port: int) -> None:
        super().__init__(
            f"Port {port} of 127.0.0.1 is taken by another program:"
            " state another one with --port, or none to get a free one."
        )
        self.port = port


class UnknownProcess(LocalMeshError):
    """A process was named that the mesh does not have."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        listed = ", ".join(known) or "none so far"
        super().__init__(f"The mesh has no process {name}; it has: {listed}.")


class ProcessFailed(LocalMeshError):
    """A process did not come up, so everything was stopped again.

    Attributes:
        process: its name.
        log_lines: the last lines it wrote.
    """

    def __init__(self, process: str, why: str, log_lines: Sequence[str]) -> None:
        lines = "".join(f"\n  {line}" for line in log_lines) or "\n  (it wrote nothing)"
        super().__init__(f"{process} {why}. Its last log lines:{lines}")
        self.process = process
        self.log_lines = tuple(log_lines)


class StillRunning(LocalMeshError):
    """Processes that could not be ended.

    Attributes:
        pids: their process ids.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        super().__init__(
            "These processes of the mesh could not be ended: "
            + ", ".join(str(pid) for pid in pids)
            + "."
        )
        self.pids = tuple(pids)
