"""`infermesh up`, `down`, `status`, `logs`, `doctor`, and commands that find the local mesh."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from infermesh.analytics.v1 import ledger_pb2
from infermesh.cache.v1 import cache_pb2
from infermesh.cli.app import build_app
from infermesh.cli.mesh import Steps
from infermesh.cli.local_mesh import LocalMesh, LocalMeshFailed, MeshInfo, Progress
from infermesh.router.v1 import operations_pb2
from infermesh.testing import ScriptedMesh


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    ERROR = "error"


@dataclass(frozen=True)
class Found:
    """A finding."""

    severity: Level
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Info:
    """How to reach the mesh."""

    url: str
    grpc_target: str
    state_dir: Path
    resources_dir: Path
    operator_key_file: Path
    tenant_key_files: dict[str, Path]


@dataclass(frozen=True)
class Process:
    """One process."""

    name: str
    state: str = "RUNNING"
    pid: int | None = 11
    uptime_s: int = 60
    ready: bool = True
    detail: str = ""


@dataclass(frozen=True)
class Status:
    """The whole mesh."""

    info: Info | None
    processes: tuple[Process, ...] = ()
    left_behind: tuple[int, ...] = ()

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.info is not None

    @property
    def ready(self) -> bool:
        """Whether all of it works."""
        return self.running and all(process.ready for process in self.processes)


@dataclass
class MeshOfThisMachine:
    """Stands for the installed local mode: what it is told is in `done`."""

    info: Info
    found: Status
    findings: list[Found] = field(default_factory=list)
    failure: str = ""
    done: list[object] = field(default_factory=list)

    def up(
        self,
        *,
        port: int | None,
        foreground: bool,
        progress: Progress,
        ready: Callable[[MeshInfo], None],
    ) -> None:
        """Starts."""
        self._fail_or_note("up", port, foreground)
        progress("starting redis")
        ready(self.info)
        if foreground:
            progress("stopping the processes")

    def down(self, progress: Progress) -> None:
        """Stops."""
        self._fail_or_note("down")
        progress("stopping the processes")

    def status(self) -> Status:
        """What runs."""
        self._fail_or_note("status")
        return self.found

    def logs(self, process: str | None, lines: int, follow: bool) -> Iterator[str]:
        """Logs."""
        self._fail_or_note("logs", process, lines, follow)
        yield from ("first", "second")

    def doctor(self) -> Sequence[Found]:
        """Looks."""
        self._fail_or_note("doctor")
        return self.findings

    def _fail_or_note(self, *what: object) -> None:
        if self.failure:
            raise LocalMeshFailed(self.failure)
        self.done.append(what)


@pytest.fixture
def local(tmp_path: Path, mesh: ScriptedMesh) -> MeshOfThisMachine:
    """A local mesh that runs: `mesh`."""
    keys = {name: tmp_path / f"{name}-key" for name in ("operator", "demo", "acme")}
    for name, path in keys.items():
        path.write_text(f"im_{name}_secret\n")
    info = Info(
        url=f"http://{mesh.address}",
        grpc_target=mesh.address,
        state_dir=tmp_path,
        resources_dir=tmp_path / "resources",
        operator_key_file=keys["operator"],
        tenant_key_files={"demo": keys["demo"], "acme": keys["acme"]},
    )
    return MeshOfThisMachine(info, Status(info, (Process("redis"), Process("router"))))


def run(local: LocalMesh | None, *arguments: str, **environment: str) -> Result:
    """Runs the command on a machine with that local mesh; None: local mode is not installed."""
    names = ("ADDRESS", "API_KEY", "API_KEY_FILE", "ROOT_CERTIFICATES", "STATE")
    clean: dict[str, str | None] = {f"INFERMESH_{name}": None for name in names}
    app = build_app(load_local=lambda state_dir: local)
    return CliRunner().invoke(app, list(arguments), env={**clean, **environment})


def lines(text: str) -> list[str]:
    """Lines without the blanks that fill a table up."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_up_stays_until_the_mesh_has_ended(local: MeshOfThisMachine, tmp_path: Path) -> None:
    ran = run(local, "up", "--port", "8099")
    assert (ran.exit_code, local.done) == (0, [("up", 8099, True)])
    assert lines(ran.stderr) == ["starting redis", "stopping the processes"]
    url = local.info.url
    assert lines(ran.stdout) == [
        f"The mesh is ready at {url}",
        "With the OpenAI SDK:",
        f'  client = OpenAI(base_url="{url}/v1",',
        f'                  api_key=open("{tmp_path}/demo-key").read().strip())',
        f"API key file    {tmp_path}/demo-key",
        f"Operator's key  {tmp_path}/operator-key",
        f"Resources       {tmp_path}/resources (changes take effect at once)",
        "Next            infermesh chat, then infermesh savings",
        "Stop            Ctrl-C, or infermesh down in another terminal",
        "The mesh is stopped.",
    ]


def test_up_detached_returns(local: MeshOfThisMachine) -> None:
    ran = run(local, "up", "--detach")
    assert (ran.exit_code, local.done) == (0, [("up", None, False)])
    assert lines(ran.stdout)[-1] == "Stop            infermesh down"


def test_a_terminal_sees_a_spinner_until_the_mesh_is_ready() -> None:
    screen = io.StringIO()
    with Steps(Console(file=screen, force_terminal=True, width=80)) as steps:
        steps.tell("starting redis")
        steps.rest()
        shown = screen.getvalue()
        steps.tell("stopping")
    assert "starting redis" in shown
    hidden, visible = "\x1b[?25l", "\x1b[?25h"
    assert shown.count(hidden) == shown.count(visible) == 1
    assert "stopping" in screen.getvalue()


def test_down_stops_it(local: MeshOfThisMachine) -> None:
    ran = run(local, "down")
    assert (ran.exit_code, ran.stdout) == (0, "The mesh is stopped.\n")
    assert ran.stderr == "stopping the processes\n"


def test_status_of_a_mesh_that_works(local: MeshOfThisMachine) -> None:
    ran = run(local, "status")
    assert ran.exit_code == 0
    assert lines(ran.stdout) == [
        f"The mesh runs at {local.info.url}.",
        "process  state    pid  up for  ready",
        "─" * 39,
        "redis    RUNNING   11    60 s  yes",
        "router   RUNNING   11    60 s  yes",
    ]
    as_json = json.loads(run(local, "status", "--json").stdout)
    assert (as_json["ready"], as_json["info"]["url"]) == (True, local.info.url)
    assert as_json["processes"][0]["name"] == "redis"


def test_status_is_an_exit_code_too(local: MeshOfThisMachine) -> None:
    sick = Process("router", "BACKOFF", None, 0, False, "exited with 1")
    local.found = Status(local.info, (sick,))
    ran = run(local, "status")
    assert ran.exit_code == 4
    assert lines(ran.stdout)[-1] == "router   BACKOFF    -     0 s  no     exited with 1"
    local.found = Status(None, left_behind=(12, 13))
    ran = run(local, "status")
    assert (ran.exit_code, lines(ran.stdout)) == (
        4,
        [
            "No mesh runs on this machine.",
            "Left behind by an earlier one: 12, 13. `infermesh down` ends them.",
        ],
    )


def test_logs_are_passed_on(local: MeshOfThisMachine) -> None:
    ran = run(local, "logs", "router", "-n", "7", "--follow")
    assert (ran.stdout, local.done) == ("first\nsecond\n", [("logs", "router", 7, True)])


def test_doctor_is_an_exit_code_too(local: MeshOfThisMachine) -> None:
    local.findings = [Found(Level.OK, "Python 3.11")]
    assert run(local, "doctor").exit_code == 0
    local.findings.append(Found(Level.ERROR, "No disk.", "Buy one."))
    ran = run(local, "doctor")
    assert ran.exit_code == 1
    assert lines(ran.stdout) == [
        "ok       Python 3.11",
        "error    No disk.",
        "         -> Buy one.",
    ]
    as_json = run(local, "doctor", "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)[1] == {
        "severity": "error",
        "what": "No disk.",
        "remedy": "Buy one.",
    }


@pytest.mark.parametrize("command", ["up", "down", "status", "logs", "doctor"])
def test_what_went_wrong_is_told_with_the_lines_it_quotes(
    local: MeshOfThisMachine, command: str
) -> None:
    local.failure = "router did not come up. Its last log lines:\n  boom"
    ran = run(local, command)
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == f"Error: {local.failure}\n"


@pytest.mark.parametrize("command", ["up", "down", "status", "logs", "doctor"])
def test_without_local_mode_the_commands_say_how_to_install_it(command: str) -> None:
    ran = run(None, command)
    assert ran.exit_code == 1
    assert ran.stderr == "Error: Local mode is not installed: pip install infermesh-local\n"


def test_commands_find_the_local_mesh_and_take_the_key_they_need(
    local: MeshOfThisMachine, mesh: ScriptedMesh
) -> None:
    mesh.script("QueryUsage", ledger_pb2.QueryUsageResponse(rows=[ledger_pb2.UsageRow()]))
    mesh.script("GetStats", cache_pb2.GetStatsResponse())
    assert run(local, "savings").exit_code == 0
    assert run(local, "cache", "stats").exit_code == 0
    assert [call.metadata["authorization"] for call in mesh.calls] == [
        "Bearer im_operator_secret",
        "Bearer im_demo_secret",
    ]


def test_a_stated_key_takes_precedence_over_the_local_ones(
    local: MeshOfThisMachine, mesh: ScriptedMesh, tmp_path: Path
) -> None:
    mesh.script("GetHealth", operations_pb2.GetHealthResponse(status="SERVING"))
    assert run(local, "health", INFERMESH_API_KEY="im_mine_s").exit_code == 0
    key_file = str(tmp_path / "acme-key")
    assert run(local, "--api-key-file", key_file, "health").exit_code == 0
    assert [call.metadata["authorization"] for call in mesh.calls] == [
        "Bearer im_mine_s",
        "Bearer im_acme_secret",
    ]


def test_local_keys_are_never_sent_to_a_stated_address(
    local: MeshOfThisMachine, mesh: ScriptedMesh
) -> None:
    mesh.script("GetHealth", operations_pb2.GetHealthResponse(status="SERVING"))
    assert run(local, "--address", mesh.address, "health").exit_code == 0
    assert "authorization" not in mesh.calls[0].metadata
    assert local.done == []


def test_a_local_mesh_that_does_not_run_is_unavailable(local: MeshOfThisMachine) -> None:
    local.found = Status(None)
    ran = run(local, "health")
    assert ran.exit_code == 4
    assert ran.stderr.startswith("Error: No mesh runs on this machine: start one with")


def test_without_local_mode_the_address_must_be_stated() -> None:
    ran = run(None, "health")
    assert ran.exit_code == 2
    assert ran.stderr == "Error: State the mesh with --address or INFERMESH_ADDRESS.\n"


def test_a_broken_local_mode_is_one_sentence(local: MeshOfThisMachine) -> None:
    local.failure = "The settings of local mode cannot be used."
    ran = run(local, "health")
    assert (ran.exit_code, ran.stderr) == (1, f"Error: {local.failure}\n")


def test_a_key_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    ran = run(None, "--address", "m:1", "--api-key-file", str(tmp_path / "absent"), "health")
    assert ran.exit_code == 2
    assert ran.stderr == (
        f"Error: The API key cannot be read from {tmp_path}/absent: No such file or directory.\n"
    )
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    ran = run(None, "--address", "m:1", "--api-key-file", str(tmp_path / "binary"), "health")
    assert (ran.exit_code, "it is not text" in ran.stderr) == (2, True)
