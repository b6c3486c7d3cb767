"""What the mesh consists of, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from infermesh_local.layout import StateLayout
from infermesh_local.settings import LocalSettings


@dataclass(frozen=True, slots=True)
class RedisReady:
    """Ready when Redis answers PING."""

    port: int
    password_file: Path


@dataclass(frozen=True, slots=True)
class HttpReady:
    """Ready when a GET answers 200."""

    url: str


@dataclass(frozen=True, slots=True)
class TcpReady:
    """Ready when it accepts connections."""

    port: int


@dataclass(frozen=True, slots=True)
class GrpcReady:
    """Ready when the standard health service reports SERVING.

    Attributes:
        target: host:port.
        service: name asked for.
    """

    target: str
    service: str = "readiness"


ReadyCheck = RedisReady | HttpReady | TcpReady | GrpcReady


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process.

    Attributes:
        name: unique in the mesh; letters, digits and "-".
        argv: program and arguments. Visible to every user of the machine: no secrets.
        ready: how to tell that it does its work.
        env: variables on top of those that all processes get.
        stop_wait_s: seconds after SIGTERM until SIGKILL.
    """

    name: str
    argv: tuple[str, ...]
    ready: ReadyCheck
    env: Mapping[str, str] = field(default_factory=dict)
    stop_wait_s: int = 20


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the processes of one run are derived from.

    Attributes:
        layout: where things stand.
        settings: of local mode.
        ports: by name, those of `Blueprint.port_names` and "public".
    """

    layout: StateLayout
    settings: LocalSettings
    ports: Mapping[str, int]


class Blueprint(Protocol):
    """Which processes a mesh consists of."""

    @property
    def port_names(self) -> Sequence[str]:
        """What needs a port besides the public one."""
        ...

    def prepare(self, context: RunContext) -> None:
        """Writes the files the processes read. Called before anything starts.

        Raises:
            LocalMeshError: something needed is missing.
        """
        ...

    def stages(self, context: RunContext) -> Sequence[Sequence[ProcessSpec]]:
        """Processes in the order of their start: a stage starts when the one before is ready.

        Depends on nothing but `context`, so that later commands see the same processes.
        """
        ...

    def common_env(self, context: RunContext) -> Mapping[str, str]:
        """Variables of every process."""
        ...
