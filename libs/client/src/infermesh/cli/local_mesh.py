"""The mesh on this machine, as the commands need it.

`infermesh-local` offers it; it depends on this package and on all services, so it is looked for
when a command needs it and is not a dependency.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

Progress: TypeAlias = Callable[[str], None]
"""Is told, in one line, what is being done."""


class LocalMeshFailed(Exception):
    """Something went wrong; `str()` of it says what and what to do, maybe in several lines."""


class MeshInfo(Protocol):
    """How to reach a mesh that runs."""

    @property
    def url(self) -> str:
        """Where HTTP clients reach it, without a path."""

    @property
    def grpc_target(self) -> str:
        """host:port."""

    @property
    def state_dir(self) -> Path:
        """Its state folder."""

    @property
    def resources_dir(self) -> Path:
        """Its YAML resources."""

    @property
    def operator_key_file(self) -> Path:
        """An API key that may do everything."""

    @property
    def tenant_key_files(self) -> Mapping[str, Path]:
        """API key of each demonstration tenant, by tenant."""


class ProcessStatus(Protocol):
    """One process of it."""

    @property
    def name(self) -> str:
        """Of the process."""

    @property
    def state(self) -> str:
        """The supervisor's word."""

    @property
    def pid(self) -> int | None:
        """None when there is no process."""

    @property
    def uptime_s(self) -> int:
        """Seconds since its last start."""

    @property
    def ready(self) -> bool:
        """Whether it does its work."""

    @property
    def detail(self) -> str:
        """What is wrong; empty when nothing is."""


class MeshStatus(Protocol):
    """The whole of it."""

    @property
    def running(self) -> bool:
        """Whether its supervisor runs."""

    @property
    def ready(self) -> bool:
        """Whether every process does its work."""

    @property
    def info(self) -> MeshInfo | None:
        """None when it does not run."""

    @property
    def processes(self) -> Sequence[ProcessStatus]:
        """In the order of their start."""

    @property
    def left_behind(self) -> Sequence[int]:
        """Process ids that run without a supervisor."""


class Severity(Protocol):
    """How bad a finding is."""

    @property
    def value(self) -> str:
        """ "ok", "warning" or "error"."""


class Finding(Protocol):
    """What the doctor found."""

    @property
    def severity(self) -> Severity:
        """Whether something must be done."""

    @property
    def what(self) -> str:
        """One sentence."""

    @property
    def remedy(self) -> str:
        """What to do; empty when nothing."""


class LocalMesh(Protocol):
    """The mesh of one state folder. Every method raises LocalMeshFailed."""

    def up(
        self,
        *,
        port: int | None,
        foreground: bool,
        progress: Progress,
        ready: Callable[[MeshInfo], None],
    ) -> None:
        """Starts it. Ctrl-C and SIGTERM undo a start under way and end a mesh in the foreground.

        Args:
            port: for clients; None: the default one when it is free, else a free one.
            foreground: return when the mesh has ended, and leave nothing behind.
            progress: is told each step.
            ready: is called once when the mesh can be used.
        """

    def down(self, progress: Progress) -> None:
        """Stops everything."""

    def status(self) -> MeshStatus:
        """What runs."""

    def logs(self, process: str | None, lines: int, follow: bool) -> Iterator[str]:
        """Lines of the log of a process, or of all.

        Args:
            process: None for all.
            lines: how many to begin with, of each.
            follow: go on until the mesh is stopped.
        """

    def doctor(self) -> Sequence[Finding]:
        """Looks at everything the mesh needs."""


LocalMeshLoader: TypeAlias = Callable[[Path | None], LocalMesh | None]
"""The mesh of a state folder (None: the default one); None when local mode is not installed."""
