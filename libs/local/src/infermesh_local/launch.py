"""Starts and stops the processes of one mesh."""

import subprocess
import time
from collections.abc import Callable, Mapping

from infermesh_local import process_table
from infermesh_local.errors import ProcessFailed, StillRunning
from infermesh_local.layout import StateLayout
from infermesh_local.logs import last_lines
from infermesh_local.processes import Blueprint, ProcessSpec, RunContext
from infermesh_local.readiness import fault
from infermesh_local.rpc import ProcessState, SupervisorClient, Unreachable
from infermesh_local.secret_files import write_private
from infermesh_local.supervisor_config import argv_of_supervisord, render

Progress = Callable[[str], None]
"""Is told, in one line, what is being done."""
_LOG_LINES = 20
_POLL_S = 0.1
_PROBE_TIMEOUT_S = 1.0
_ROUNDS = 3


def start(context: RunContext, blueprint: Blueprint, progress: Progress) -> None:
    """Starts every stage and waits until it is ready. Leaves what it started to the caller.

    Raises:
        ProcessFailed: a process ended or did not become ready.
        StateUnusable: a path cannot stand in the supervisor's configuration.
    """
    stages = blueprint.stages(context)
    write_private(context.layout.supervisor_config, render(context, stages))
    client = _start_supervisor(context, blueprint)
    for stage in stages:
        for spec in stage:
            progress(f"starting {spec.name}")
            _start_process(context, client, spec)
        for spec in stage:
            began = time.monotonic()
            _wait_until_ready(context, client, spec)
            progress(f"{spec.name} is ready (waited {time.monotonic() - began:.1f} s)")


def stop(layout: StateLayout, timeout_s: float, progress: Progress) -> None:
    """Stops everything that runs, in whatever state it is, and clears the traces of the run.

    Args:
        layout: of the mesh.
        timeout_s: for the processes to end by themselves; what then remains is killed.
        progress: see `Progress`.

    Raises:
        StillRunning: processes that even SIGKILL did not end.
    """
    supervisor = process_table.supervisor_of(layout)
    if supervisor is not None:
        progress("stopping the processes, last started first")
        try:
            SupervisorClient(layout.socket).shut_down()
        except Unreachable:
            supervisor.terminate()
        if process_table.living_after([supervisor], timeout_s):
            progress("they take too long: killing them")
            # Before the others, or it would start them again.
            process_table.kill([supervisor])
    # One that was being started may appear while the others end.
    for _ in range(_ROUNDS):
        remaining = process_table.processes_of(layout.root)
        if not remaining:
            break
        progress(f"ending {len(remaining)} processes that were left behind")
        process_table.end(remaining)
    else:
        if remaining := process_table.processes_of(layout.root):
            raise StillRunning([process.pid for process in remaining])
    layout.pid_file.unlink(missing_ok=True)
    layout.socket.unlink(missing_ok=True)
    if layout.socket.parent != layout.run and layout.socket.parent.is_dir():
        layout.socket.parent.rmdir()


def _start_supervisor(context: RunContext, blueprint: Blueprint) -> SupervisorClient:
    environment = {
        **context.settings.environment,
        **blueprint.common_env(context),
        process_table.MARK: str(context.layout.root),
    }
    _run_supervisor(context, environment)
    client = SupervisorClient(context.layout.socket)
    deadline = time.monotonic() + context.settings.start_timeout_s
    while process_table.supervisor_of(context.layout) is None or _states(client) is None:
        if time.monotonic() > deadline:
            raise ProcessFailed(
                "supervisord",
                "does not answer",
                last_lines(context.layout.supervisor_log, _LOG_LINES),
            )
        time.sleep(_POLL_S)
    return client


def _run_supervisor(context: RunContext, environment: Mapping[str, str]) -> None:
    """Returns when it has gone to the background, with its socket open already."""
    try:
        done = subprocess.run(
            argv_of_supervisord(context),
            env=environment,
            cwd=context.layout.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=context.settings.start_timeout_s,
            check=False,
            # Ctrl-C in the terminal is for us, who then end it in good order.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessFailed("supervisord", "was not up in time", []) from error
    if done.returncode != 0:
        output = done.stdout.decode("utf-8", "replace").splitlines()
        raise ProcessFailed("supervisord", "could not be started", output[-_LOG_LINES:])


def _states(client: SupervisorClient) -> dict[str, ProcessState] | None:
    try:
        return client.states()
    except Unreachable:
        return None


def _start_process(context: RunContext, client: SupervisorClient, spec: ProcessSpec) -> None:
    try:
        client.start(spec.name)
    except Unreachable as error:
        raise _failed(context, spec, f"could not be started ({error})") from error


def _wait_until_ready(context: RunContext, client: SupervisorClient, spec: ProcessSpec) -> None:
    timeout_s = context.settings.start_timeout_s
    deadline = time.monotonic() + timeout_s
    while True:
        missing = fault(spec.ready, _PROBE_TIMEOUT_S)
        state = (_states(client) or {}).get(spec.name)
        if state is None:
            raise _failed(context, spec, "was lost: the supervisor does not answer")
        # Also when the probe went well: another program may have answered it.
        if not state.alive:
            raise _failed(context, spec, f"did not come up: {state.detail or state.state}")
        if missing is None:
            return
        if time.monotonic() > deadline:
            raise _failed(context, spec, f"was not ready within {timeout_s:.0f} s ({missing})")
        time.sleep(_POLL_S)


def _failed(context: RunContext, spec: ProcessSpec, why: str) -> ProcessFailed:
    lines = last_lines(context.layout.log_of(spec.name), _LOG_LINES)
    return ProcessFailed(spec.name, why, lines)
