"""Stand-in processes as a blueprint."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infermesh_local.port_choice import LOOPBACK
from infermesh_local.processes import GrpcReady, ProcessSpec, RunContext


@dataclass(frozen=True, slots=True)
class StandIn:
    """One process; it reports its health over gRPC and tells its log when it starts and stops.

    Attributes:
        name: of the process.
        needs: name of a process without which it refuses to start.
        flags: further arguments of `infermesh_local.testing.stand_in`.
        stop_wait_s: seconds after SIGTERM until SIGKILL.
    """

    name: str
    needs: str | None = None
    flags: tuple[str, ...] = ()
    stop_wait_s: int = 10


@dataclass(frozen=True)
class StandInBlueprint:
    """A mesh of stand-ins.

    Attributes:
        of: the processes by stage.
    """

    of: tuple[tuple[StandIn, ...], ...]

    @property
    def port_names(self) -> Sequence[str]:
        """One port a process."""
        return [stand_in.name for stage in self.of for stand_in in stage]

    def prepare(self, context: RunContext) -> None:
        """They read no files."""

    def stages(self, context: RunContext) -> Sequence[Sequence[ProcessSpec]]:
        """The processes, each with its health service on a port of its own."""
        return [[_spec(stand_in, context) for stand_in in stage] for stage in self.of]

    def common_env(self, context: RunContext) -> Mapping[str, str]:
        """A file they write their starts and stops to."""
        return {"STAND_IN_NOTES": str(context.layout.root / "notes")}


def _spec(stand_in: StandIn, context: RunContext) -> ProcessSpec:
    argv = [sys.executable, "-m", "infermesh_local.testing.stand_in"]
    argv += ["--port", str(context.ports[stand_in.name]), *stand_in.flags]
    if stand_in.needs is not None:
        argv += ["--needs", f"{LOOPBACK}:{context.ports[stand_in.needs]}"]
    return ProcessSpec(
        name=stand_in.name,
        argv=tuple(argv),
        ready=GrpcReady(f"{LOOPBACK}:{context.ports[stand_in.name]}"),
        env={"STAND_IN_NAME": stand_in.name},
        stop_wait_s=stand_in.stop_wait_s,
    )
