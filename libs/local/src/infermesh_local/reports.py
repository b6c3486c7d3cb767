"""What the commands tell."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class UpOptions:
    """How to start.

    Attributes:
        port: port clients use; None: the default one when it is free, else a free one.
        foreground: stay until Ctrl-C, SIGTERM or `down`, then leave nothing behind.
    """

    port: int | None = None
    foreground: bool = False


@dataclass(frozen=True, slots=True)
class MeshInfo:
    """A mesh that runs.

    Attributes:
        url: where HTTP clients reach it, without a path, for example "http://127.0.0.1:8080".
        grpc_target: where gRPC clients reach it, as host:port.
        state_dir: its state folder.
        config_file: settings of its services.
        resources_dir: YAML resources; changes take effect at once.
        secrets_dir: passwords and keys, one file each.
        operator_key_file: an API key that may do everything.
        tenant_key_files: API key of each demonstration tenant, by tenant.
        supervisor_pid: process id of the supervisor.
    """

    url: str
    grpc_target: str
    state_dir: Path
    config_file: Path
    resources_dir: Path
    secrets_dir: Path
    operator_key_file: Path
    tenant_key_files: dict[str, Path]
    supervisor_pid: int


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process.

    Attributes:
        name: of the process.
        state: the supervisor's word, for example RUNNING, BACKOFF, FATAL; UNKNOWN when the
            supervisor does not answer.
        pid: process id; None when there is no process.
        uptime_s: seconds since its last start.
        ready: whether it does its work.
        detail: what is wrong; empty when nothing is.
    """

    name: str
    state: str
    pid: int | None
    uptime_s: int
    ready: bool
    detail: str


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """The whole mesh.

    Attributes:
        running: whether its supervisor runs.
        info: how to reach it; None when it does not run.
        processes: in the order of their start.
        left_behind: process ids of the mesh that run without a supervisor.
    """

    running: bool
    info: MeshInfo | None
    processes: tuple[ProcessStatus, ...]
    left_behind: tuple[int, ...]

    @property
    def ready(self) -> bool:
        """Whether every process does its work."""
        return self.running and all(process.ready for process in self.processes)


class Severity(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the doctor found.

    Attributes:
        severity: whether something must be done.
        what: what was looked at and how it is, one sentence.
        remedy: what to do; empty when nothing.
    """

    severity: Severity
    what: str
    remedy: str = ""
