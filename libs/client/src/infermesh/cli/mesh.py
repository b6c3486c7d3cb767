"""`infermesh up`, `down`, `status`, `logs` and `doctor`: the mesh on this machine."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, TypeAlias

import typer

from infermesh.cli.connection import settings_of
from infermesh.cli.exits import OTHER, UNAVAILABLE
from infermesh.cli.local_mesh import LocalMesh, LocalMeshFailed, MeshInfo, Progress
from infermesh.cli.output import JsonOption, console, print_json, table

_NOT_INSTALLED = "Local mode is not installed: pip install infermesh-local"
# Not every operating system has all of them.
_SIGNALS = [each for each in signal.Signals if each.name in ("SIGINT", "SIGTERM", "SIGHUP")]
_Handler: TypeAlias = Callable[[int, FrameType | None], object]


def up(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port for clients; else a free one.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running and return.")] = False,
) -> None:
    """Start a mesh on this machine; Ctrl-C stops all of it."""
    with _local_mesh(context) as mesh, _handling(_interrupt):
        with _progress() as progress:
            info = mesh.up(port, progress)
        if detach:
            _print_ready(info, "infermesh down")
            return
        try:
            _print_ready(info, "Ctrl-C, or infermesh down in another terminal")
            # Ends when the mesh does, be it by `infermesh down` in another terminal.
            for _ in mesh.logs(None, 0, True):
                pass
        except KeyboardInterrupt:
            print(file=sys.stderr)
        finally:
            # Half a clean-up would leave processes behind; it has deadlines of its own.
            with _handling(_ignore):
                _stop_what_runs(mesh)


def down(context: typer.Context) -> None:
    """Stop the mesh on this machine."""
    with _local_mesh(context) as mesh:
        with _progress() as progress:
            mesh.down(progress)
        console().print("The mesh is stopped.")


def status(context: typer.Context, as_json: JsonOption = False) -> None:
    """What runs on this machine. The exit code is 4 unless all of it is ready."""
    with _local_mesh(context) as mesh:
        found = mesh.status()
    if as_json:
        print_json(
            {
                "running": found.running,
                "ready": found.ready,
                "info": found.info,
                "processes": found.processes,
                "left_behind": found.left_behind,
            }
        )
    else:
        out = console()
        where = f" at {found.info.url}" if found.info else ""
        out.print(f"The mesh runs{where}." if found.running else "No mesh runs on this machine.")
        if found.left_behind:
            pids = ", ".join(map(str, found.left_behind))
            out.print(f"Left behind by an earlier one: {pids}. `infermesh down` ends them.")
        shown = table("process", "state", "pid", "up for", "ready", "", numeric=["pid", "up for"])
        for each in found.processes:
            pid = "-" if each.pid is None else str(each.pid)
            ready = "yes" if each.ready else "no"
            shown.add_row(each.name, each.state, pid, f"{each.uptime_s} s", ready, each.detail)
        if found.processes:
            out.print(shown)
    if not found.ready:
        raise typer.Exit(UNAVAILABLE)


def logs(
    context: typer.Context,
    process: Annotated[str | None, typer.Argument(help="All of them when not given.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Of each process.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones.")] = False,
) -> None:
    """What the processes on this machine log."""
    with _local_mesh(context) as mesh:
        for line in mesh.logs(process, lines, follow):
            print(line, flush=follow)


def doctor(context: typer.Context, as_json: JsonOption = False) -> None:
    """Look at everything a mesh on this machine needs. The exit code is 1 when it cannot run."""
    with _local_mesh(context) as mesh:
        findings = mesh.doctor()
    if as_json:
        print_json(findings)
    else:
        out = console()
        for each in findings:
            out.print(f"{each.severity.value:<8} {each.what}")
            if each.remedy:
                out.print(f"{'':<8} -> {each.remedy}")
    if any(each.severity.value == "error" for each in findings):
        raise typer.Exit(OTHER)


@contextmanager
def _local_mesh(context: typer.Context) -> Iterator[LocalMesh]:
    """The mesh; its failures in the block end the command with what they say."""
    settings = settings_of(context)
    try:
        mesh = settings.load_local(settings.state_dir)
        if mesh is None:
            raise LocalMeshFailed(_NOT_INSTALLED)
        yield mesh
    except LocalMeshFailed as error:
        # In its own lines: it may quote a log.
        print(f"Error: {error}", file=sys.stderr)
        raise typer.Exit(OTHER) from error


@contextmanager
def _progress() -> Iterator[Progress]:
    """Tells steps on stderr, with a spinner when that is a terminal."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield out.print
        return
    with out.status("") as spinner:

        def step(line: str) -> None:
            out.print(line, style="dim")
            spinner.update(line)

        yield step


def _print_ready(info: MeshInfo, stop: str) -> None:
    key_file = next(iter(info.tenant_key_files.values()), info.operator_key_file)
    console().print(
        f"The mesh is ready at {info.url}\n\n"
        "With the OpenAI SDK:\n"
        f'  client = OpenAI(base_url="{info.url}/v1",\n'
        f'                  api_key=open("{key_file}").read().strip())\n\n'
        f"API key file    {key_file}\n"
        f"Operator's key  {info.operator_key_file}\n"
        f"Resources       {info.resources_dir} (changes take effect at once)\n"
        "Next            infermesh chat, then infermesh savings\n"
        f"Stop            {stop}"
    )
    sys.stdout.flush()


def _stop_what_runs(mesh: LocalMesh) -> None:
    found = mesh.status()
    if found.running or found.left_behind:
        with _progress() as progress:
            mesh.down(progress)
    console().print("The mesh is stopped.")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """Nothing: what is under way ends by itself."""


@contextmanager
def _handling(handler: _Handler) -> Iterator[None]:
    """Ctrl-C, SIGTERM and the closing of the terminal go to `handler` while the block runs."""
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
