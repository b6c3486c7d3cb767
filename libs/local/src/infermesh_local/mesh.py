"""The mesh of one state folder: up, down, status, logs, doctor."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infermesh_local import doctor, launch, process_table
from infermesh_local.blueprint import MeshBlueprint
from infermesh_local.config_file import OPERATOR_KEY
from infermesh_local.errors import AlreadyRunning, Incomplete, NotRunning, UnknownProcess
from infermesh_local.interruption import Interruption
from infermesh_local.launch import Progress
from infermesh_local.layout import StateLayout
from infermesh_local.lock import exclusive
from infermesh_local.logs import read_logs
from infermesh_local.port_choice import (
    LOOPBACK,
    PUBLIC,
    free_ports,
    public_port,
    read_ports,
    write_ports,
)
from infermesh_local.processes import Blueprint, ProcessSpec, RunContext
from infermesh_local.readiness import fault
from infermesh_local.reports import Finding, MeshInfo, MeshStatus, ProcessStatus, UpOptions
from infermesh_local.resource_files import DEMO_TENANTS, tenant_key_file
from infermesh_local.rpc import ProcessState, SupervisorClient, Unreachable
from infermesh_local.settings import LocalSettings, load_local_settings

_WATCH_S = 0.5
_PROBE_TIMEOUT_S = 2.0


class LocalMesh:
    """Runs the mesh as processes on this machine.

    Args:
        state_dir: folder of its state; None: the one the settings name.
        settings: None: those of the environment.
        blueprint: which processes; None: those of InferMesh.

    Raises:
        SettingsInvalid: the environment holds settings that cannot be used.
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        settings: LocalSettings | None = None,
        blueprint: Blueprint | None = None,
    ) -> None:
        self._settings = settings or load_local_settings()
        self._layout = StateLayout.at(state_dir or self._settings.state_dir)
        self._blueprint: Blueprint = blueprint or MeshBlueprint()

    @property
    def state_dir(self) -> Path:
        """The state folder, absolute."""
        return self._layout.root

    def up(
        self,
        options: UpOptions,
        progress: Progress,
        ready: Callable[[MeshInfo], None] | None = None,
    ) -> MeshInfo:
        """Starts everything and returns when it is ready; in the foreground, when it has ended.

        Ctrl-C and SIGTERM undo a start that is under way; in the foreground they end the mesh.

        Args:
            options: how to start.
            progress: is told each step, one line at a time.
            ready: is called once when the mesh can be used; in the foreground, before waiting.

        Raises:
            AlreadyRunning: it runs.
            Busy: another command starts or stops it.
            PortInUse: the port that was asked for is taken.
            Incomplete: a program it is made of is not installed.
            ProcessFailed: a process did not come up; what had been started is stopped.
            StateUnusable: the state folder cannot be used.
            KeyboardInterrupt: a start under way was interrupted and has been undone.
        """
        self._layout.create()
        info: MeshInfo | None = None
        interruption = Interruption()
        with interruption.handling():
            try:
                with exclusive(self._layout):
                    info = self._up(options, progress, interruption)
                if ready is not None:
                    ready(info)
                if options.foreground:
                    self._watch(progress)
            except KeyboardInterrupt:
                if info is None or not options.foreground:
                    raise
            if options.foreground:
                # After the mesh has died too: it may have left processes behind.
                interruption.hold()
                with exclusive(self._layout, self._settings.stop_timeout_s):
                    launch.stop(self._layout, self._settings.stop_timeout_s, progress)
        return info

    def down(self, progress: Progress) -> None:
        """Stops everything, also what a supervisor that was killed left behind.

        Raises:
            NotRunning: nothing runs.
            Busy: another command starts or stops it.
            StillRunning: processes that cannot be ended.
        """
        if not process_table.processes_of(self._layout.root):
            raise NotRunning(self._layout.root)
        # The state folder may have been deleted under the mesh.
        self._layout.create()
        with exclusive(self._layout):
            launch.stop(self._layout, self._settings.stop_timeout_s, progress)

    def status(self) -> MeshStatus:
        """What runs, and whether it does its work. Never fails because something is broken."""
        supervisor = process_table.supervisor_of(self._layout)
        if supervisor is None:
            left = tuple(p.pid for p in process_table.processes_of(self._layout.root))
            return MeshStatus(running=False, info=None, processes=(), left_behind=left)
        context = self._last_context()
        if context is None:
            return MeshStatus(running=True, info=None, processes=(), left_behind=())
        try:
            states = SupervisorClient(self._layout.socket).states()
        except Unreachable:
            states = {}
        specs = self._specs(context)
        with ThreadPoolExecutor(max_workers=max(1, len(specs))) as pool:
            processes = pool.map(lambda spec: _look_at(spec, states.get(spec.name)), specs)
        info = self._info(context.ports[PUBLIC], supervisor.pid)
        return MeshStatus(running=True, info=info, processes=tuple(processes), left_behind=())

    def logs(self, process: str | None, lines: int, follow: bool) -> Iterator[str]:
        """Lines of the log of a process, or of all, each then with the process's name before it.

        Works whether or not the mesh runs.

        Args:
            process: its name; None for all.
            lines: how many to begin with, of each.
            follow: goes on until the mesh is stopped.

        Raises:
            UnknownProcess: there is no log of that name.
        """
        paths = {path.stem: path for path in sorted(self._layout.logs.glob("*.log"))}
        if process is not None:
            if process not in paths:
                raise UnknownProcess(process, list(paths))
            paths = {process: paths[process]}
        return read_logs(paths, lines, self._runs if follow else None)

    def doctor(self) -> list[Finding]:
        """Looks at everything the mesh needs, and at the mesh if it runs."""
        return doctor.examine(self._layout, self._settings, self.status())

    def _up(self, options: UpOptions, progress: Progress, interruption: Interruption) -> MeshInfo:
        supervisor = process_table.supervisor_of(self._layout)
        if supervisor is not None:
            port = read_ports(self._layout.ports_file).get(PUBLIC, self._settings.public_port)
            raise AlreadyRunning(f"http://{LOOPBACK}:{port}")
        try:
            # What a crash left: processes without a supervisor, pid file, socket.
            launch.stop(self._layout, self._settings.stop_timeout_s, progress)
            self._layout.create()
            context = self._new_context(options, progress)
            self._blueprint.prepare(context)
            launch.start(context, self._blueprint, progress)
        except BaseException:
            interruption.hold()
            launch.stop(self._layout, self._settings.stop_timeout_s, progress)
            raise
        supervisor = process_table.supervisor_of(self._layout)
        return self._info(context.ports[PUBLIC], supervisor.pid if supervisor else 0)

    def _watch(self, progress: Progress) -> None:
        """Returns when another command has stopped the mesh, or it has died."""
        while self._runs():
            time.sleep(_WATCH_S)
        progress("the mesh is no longer running")

    def _runs(self) -> bool:
        return process_table.supervisor_of(self._layout) is not None

    def _new_context(self, options: UpOptions, progress: Progress) -> RunContext:
        settings = self._settings
        internal = range(settings.first_internal_port, settings.last_internal_port + 1)
        public = public_port(options.port, settings.public_port, internal)
        if options.port is None and public != settings.public_port:
            progress(f"port {settings.public_port} is taken: using {public}")
        earlier = read_ports(self._layout.ports_file)
        ports = free_ports(self._blueprint.port_names, internal, earlier, [public])
        ports[PUBLIC] = public
        write_ports(self._layout.ports_file, ports)
        return RunContext(self._layout, settings, ports)

    def _last_context(self) -> RunContext | None:
        ports = read_ports(self._layout.ports_file)
        if not {*self._blueprint.port_names, PUBLIC} <= ports.keys():
            return None
        return RunContext(self._layout, self._settings, ports)

    def _specs(self, context: RunContext) -> Sequence[ProcessSpec]:
        try:
            return [spec for stage in self._blueprint.stages(context) for spec in stage]
        except Incomplete:
            # Uninstalled under the running mesh; the doctor says so.
            return []

    def _info(self, port: int, supervisor_pid: int) -> MeshInfo:
        layout = self._layout
        return MeshInfo(
            url=f"http://{LOOPBACK}:{port}",
            grpc_target=f"{LOOPBACK}:{port}",
            state_dir=layout.root,
            config_file=layout.config_file,
            resources_dir=layout.resources,
            secrets_dir=layout.secrets,
            operator_key_file=layout.secrets / OPERATOR_KEY,
            tenant_key_files={
                tenant: tenant_key_file(layout.secrets, tenant) for tenant in DEMO_TENANTS
            },
            supervisor_pid=supervisor_pid,
        )


def _look_at(spec: ProcessSpec, state: ProcessState | None) -> ProcessStatus:
    missing = fault(spec.ready, _PROBE_TIMEOUT_S)
    if state is None:
        detail = "the supervisor does not answer"
        return ProcessStatus(spec.name, "UNKNOWN", None, 0, missing is None, detail)
    return ProcessStatus(
        name=spec.name,
        state=state.state,
        pid=state.pid or None,
        uptime_s=state.uptime_s,
        ready=state.alive and missing is None,
        detail=state.detail or missing or "",
    )
