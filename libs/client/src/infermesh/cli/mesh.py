"""`infermesh up`, `down`, `status`, `logs` and `doctor`: the mesh on this machine.

`doctor` also looks at one in a Kubernetes cluster: see `kube_doctor`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from infermesh.cli.connection import settings_of
from infermesh.cli.exits import OTHER, UNAVAILABLE, USAGE, fail
from infermesh.cli.local_mesh import LocalMesh, LocalMeshFailed, MeshInfo
from infermesh.cli.output import JsonOption, console, print_json, table

if TYPE_CHECKING:
    from rich.console import Console

_NOT_INSTALLED = "Local mode is not installed: pip install infermesh-local"


def up(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port for clients; else a free one.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running and return.")] = False,
) -> None:
    """Start a mesh on this machine; Ctrl-C stops all of it."""
    stop = "infermesh down" if detach else "Ctrl-C, or infermesh down in another terminal"
    with _local_mesh(context) as mesh, Steps(console(stderr=True)) as steps:

        def ready(info: MeshInfo) -> None:
            # From here on nothing is under way that a spinner could show.
            steps.rest()
            _print_ready(info, stop)

        mesh.up(port=port, foreground=not detach, progress=steps.tell, ready=ready)
    if not detach:
        console().print("The mesh is stopped.")


def down(context: typer.Context) -> None:
    """Stop the mesh on this machine."""
    with _local_mesh(context) as mesh:
        with Steps(console(stderr=True)) as steps:
            mesh.down(steps.tell)
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
            out.print(shown, soft_wrap=False)
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


class Output(Enum):
    """How to show what was found."""

    TEXT = "text"
    JSON = "json"


def doctor(
    context: typer.Context,
    as_json: JsonOption = False,
    kube: Annotated[bool, typer.Option("--kube", help="Look at a mesh in a cluster.")] = False,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Of the release; else that of the context.")
    ] = "",
    release: Annotated[str, typer.Option(help="Needed when the namespace has several.")] = "",
    kube_context: Annotated[str, typer.Option("--context", help="Of the kubeconfig.")] = "",
    kubeconfig: Annotated[
        str, typer.Option(envvar="KUBECONFIG", help="Else ~/.kube/config, else that of the pod.")
    ] = "",
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.TEXT,
) -> None:
    """Look at everything a mesh on this machine needs. The exit code is 1 when it cannot run.

    With --kube: look at a mesh in a Kubernetes cluster, without changing anything. The exit code
    tells what is wrong; docs/troubleshooting.md lists them.
    """
    as_json = as_json or output is Output.JSON
    if kube:
        # Not at the top: no other command needs it.
        from infermesh.cli.kube_doctor.command import Options, doctor_kube

        doctor_kube(Options(kubeconfig, kube_context, namespace, release, as_json))
        return
    if namespace or release or kube_context:
        fail("--namespace, --release and --context go with --kube.", USAGE)
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


class Steps:
    """Tells steps, with a spinner on the last one when they are told to a terminal.

    Args:
        out: where to.
    """

    def __init__(self, out: "Console") -> None:
        self._out = out
        self._spinner = self._out.status("") if self._out.is_terminal else None

    def tell(self, line: str) -> None:
        """Tells the next step."""
        self._out.print(line, style="dim")
        if self._spinner is not None:
            self._spinner.update(line)

    def rest(self) -> None:
        """Ends the spinner; steps can still be told."""
        if self._spinner is not None:
            self._spinner.stop()

    def __enter__(self) -> Self:
        if self._spinner is not None:
            self._spinner.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rest()


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
