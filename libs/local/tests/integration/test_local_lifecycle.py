"""Start and stop with the real supervisor and small stand-in processes."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from infermesh_local import (
    AlreadyRunning,
    Busy,
    LocalMesh,
    NotRunning,
    PortInUse,
    ProcessFailed,
    StateUnusable,
    UnknownProcess,
    UpOptions,
)
from infermesh_local.layout import StateLayout
from infermesh_local.lock import exclusive
from infermesh_local.process_table import living_after, processes_of
from infermesh_local.processes import HttpReady, ProcessSpec, RunContext
from infermesh_local.testing import StandIn, StandInBlueprint

MakeMesh = Callable[..., LocalMesh]
Eventually = Callable[[Callable[[], bool]], None]
TWO = StandInBlueprint(((StandIn("store"),), (StandIn("worker", needs="store"),)))


@dataclass(frozen=True)
class Fixed(StandInBlueprint):
    """Stated processes in place of stand-ins."""

    of: tuple[tuple[StandIn, ...], ...] = ()
    specs: tuple[tuple[ProcessSpec, ...], ...] = ()

    def stages(self, context: RunContext) -> Sequence[Sequence[ProcessSpec]]:
        """Those."""
        return self.specs


def quiet(line: str) -> None:
    """Nobody listens."""


def notes(mesh: LocalMesh) -> list[str]:
    """Starts and stops in their order."""
    return (mesh.state_dir / "notes").read_text().splitlines()


def test_a_stage_starts_when_the_one_before_is_ready_and_stops_before_it(
    make_mesh: MakeMesh,
) -> None:
    mesh = make_mesh(TWO)
    lines: list[str] = []
    info = mesh.up(UpOptions(), lines.append)
    status = mesh.status()
    assert status.ready and status.info == info
    assert [(p.name, p.state in ("STARTING", "RUNNING")) for p in status.processes] == [
        ("store", True),
        ("worker", True),
    ]
    assert lines[0] == "starting store" and lines[2] == "starting worker"
    mesh.down(lines.append)
    assert notes(mesh) == ["store started", "worker started", "worker stopped", "store stopped"]


def test_down_leaves_no_process_and_no_trace_of_the_run(make_mesh: MakeMesh) -> None:
    blueprint = StandInBlueprint(((StandIn("parent", flags=("--with-child",)),),))
    mesh = make_mesh(blueprint)
    info = mesh.up(UpOptions(), quiet)
    family = psutil.Process(info.supervisor_pid).children(recursive=True)
    assert len(family) == 2
    mesh.down(quiet)
    assert living_after(family, 0.0) == []
    assert processes_of(mesh.state_dir) == []
    layout = StateLayout(mesh.state_dir)
    assert not layout.pid_file.exists() and not layout.socket.exists()
    assert not mesh.status().running
    with pytest.raises(NotRunning, match=str(mesh.state_dir)):
        mesh.down(quiet)


def test_a_second_up_is_refused_with_the_url_and_harms_nothing(make_mesh: MakeMesh) -> None:
    mesh = make_mesh(TWO)
    info = mesh.up(UpOptions(), quiet)
    with pytest.raises(AlreadyRunning) as caught:
        make_mesh(TWO).up(UpOptions(), quiet)
    assert caught.value.url == info.url and info.url in str(caught.value)
    assert mesh.status().ready


def test_a_killed_process_comes_back(make_mesh: MakeMesh, eventually: Eventually) -> None:
    mesh = make_mesh(TWO)
    mesh.up(UpOptions(), quiet)
    first = mesh.status().processes[0]
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: mesh.status().ready and mesh.status().processes[0].pid != first.pid)


def test_a_process_that_fails_is_named_with_its_words_and_nothing_remains(
    make_mesh: MakeMesh,
) -> None:
    failing = StandIn("broken", flags=("--fail", "no licence found"))
    mesh = make_mesh(StandInBlueprint(((StandIn("store"),), (failing,), (StandIn("last"),))))
    with pytest.raises(ProcessFailed, match="no licence found") as caught:
        mesh.up(UpOptions(), quiet)
    assert caught.value.process == "broken"
    assert "no licence found" in caught.value.log_lines
    # The supervisor tells the exit code only of a process that it has already seen running.
    said = str(caught.value)
    assert "did not come up: " in said
    assert "ended soon after its start" in said or "Bad exit code 3" in said
    assert processes_of(mesh.state_dir) == []
    assert notes(mesh) == ["store started", "store stopped"]


def test_a_process_that_cannot_be_run_is_named(make_mesh: MakeMesh, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o700)
    spec = ProcessSpec("broken", (str(program),), HttpReady("http://127.0.0.1:1/"))
    with pytest.raises(ProcessFailed, match="(?s)^broken .*couldn't exec"):
        make_mesh(Fixed(specs=((spec,),))).up(UpOptions(), quiet)
    missing = ProcessSpec("missing", ("/no/such/program",), HttpReady("http://127.0.0.1:1/"))
    with pytest.raises(ProcessFailed, match="^missing could not be started"):
        make_mesh(Fixed(specs=((missing,),))).up(UpOptions(), quiet)


def test_a_process_that_never_gets_ready_is_given_up(make_mesh: MakeMesh) -> None:
    slow = StandIn("slow", flags=("--never-ready",))
    mesh = make_mesh(StandInBlueprint(((slow,),)), start_timeout_s=5.0)
    with pytest.raises(ProcessFailed, match="slow was not ready within 5 s.*NOT_SERVING"):
        mesh.up(UpOptions(), quiet)
    assert processes_of(mesh.state_dir) == []


def test_a_process_deaf_to_sigterm_is_killed(make_mesh: MakeMesh) -> None:
    deaf = StandIn("deaf", flags=("--deaf",), stop_wait_s=1)
    mesh = make_mesh(StandInBlueprint(((deaf,),)))
    mesh.up(UpOptions(), quiet)
    mesh.down(quiet)
    assert processes_of(mesh.state_dir) == []
    assert notes(mesh) == ["deaf started"]


def test_down_ends_what_a_killed_supervisor_left_behind(
    make_mesh: MakeMesh, eventually: Eventually
) -> None:
    mesh = make_mesh(TWO)
    info = mesh.up(UpOptions(), quiet)
    os.kill(info.supervisor_pid, signal.SIGKILL)
    eventually(lambda: not mesh.status().running)
    assert len(mesh.status().left_behind) == 2
    mesh.down(quiet)
    assert processes_of(mesh.state_dir) == []


def test_up_after_a_crash_works(make_mesh: MakeMesh, eventually: Eventually) -> None:
    mesh = make_mesh(TWO)
    before = mesh.up(UpOptions(), quiet)
    os.kill(before.supervisor_pid, signal.SIGKILL)
    eventually(lambda: not mesh.status().running)
    after = mesh.up(UpOptions(), quiet)
    assert after.supervisor_pid != before.supervisor_pid
    assert mesh.status().ready
    assert len(processes_of(mesh.state_dir)) == 3


def test_a_pid_file_that_names_a_stranger_is_not_believed(make_mesh: MakeMesh) -> None:
    mesh = make_mesh(TWO)
    layout = StateLayout(mesh.state_dir)
    layout.create()
    for stranger in (str(os.getppid()), "1", "99999999999999999999", "x"):
        layout.pid_file.write_text(stranger)
        assert not mesh.status().running
        with pytest.raises(NotRunning):
            mesh.down(quiet)
    assert mesh.up(UpOptions(), quiet).supervisor_pid != os.getppid()


def test_down_works_when_the_supervisor_hangs(make_mesh: MakeMesh) -> None:
    mesh = make_mesh(TWO, stop_timeout_s=1.0)
    info = mesh.up(UpOptions(), quiet)
    os.kill(info.supervisor_pid, signal.SIGSTOP)
    status = mesh.status()
    assert [p.state for p in status.processes] == ["UNKNOWN", "UNKNOWN"]
    assert all("does not answer" in p.detail for p in status.processes)
    mesh.down(quiet)
    assert processes_of(mesh.state_dir) == []


def test_down_works_when_the_state_folder_is_gone(make_mesh: MakeMesh, tmp_path: Path) -> None:
    mesh = make_mesh(TWO)
    mesh.up(UpOptions(), quiet)
    mesh.state_dir.rename(tmp_path / "elsewhere")
    mesh.down(quiet)
    assert processes_of(mesh.state_dir) == []


def test_two_commands_do_not_start_or_stop_at_once(make_mesh: MakeMesh) -> None:
    mesh = make_mesh(TWO)
    layout = StateLayout(mesh.state_dir)
    layout.create()
    with exclusive(layout), pytest.raises(Busy, match="Another command"):
        mesh.up(UpOptions(), quiet)
    mesh.up(UpOptions(), quiet)
    with exclusive(layout), pytest.raises(Busy):
        mesh.down(quiet)
    assert mesh.status().ready


def test_a_stated_port_that_is_taken_starts_nothing(make_mesh: MakeMesh) -> None:
    mesh = make_mesh(TWO)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(PortInUse):
            mesh.up(UpOptions(port=server.getsockname()[1]), quiet)
    assert processes_of(mesh.state_dir) == []


def test_a_default_port_that_is_taken_is_replaced_and_said(make_mesh: MakeMesh) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken = server.getsockname()[1]
        lines: list[str] = []
        info = make_mesh(TWO, public_port=taken).up(UpOptions(), lines.append)
    assert not info.url.endswith(f":{taken}")
    assert lines[0] == f"port {taken} is taken: using {info.url.rpartition(':')[2]}"


@pytest.mark.parametrize("name", ["x" * 150, "with space, (brackets) and ünïcode"])
def test_long_and_unusual_state_paths_work(make_mesh: MakeMesh, tmp_path: Path, name: str) -> None:
    mesh = make_mesh(TWO, tmp_path / name)
    mesh.up(UpOptions(), quiet)
    assert mesh.status().ready
    assert list(mesh.logs("store", 5, False))[-1] == "store started"
    mesh.down(quiet)
    layout = StateLayout(mesh.state_dir)
    assert processes_of(mesh.state_dir) == []
    assert layout.socket.parent == layout.run or not layout.socket.parent.exists()


def test_a_state_path_that_cannot_be_used_is_a_plain_sentence(
    make_mesh: MakeMesh, tmp_path: Path
) -> None:
    with pytest.raises(StateUnusable, match="quote"):
        make_mesh(TWO, tmp_path / 'a"b').up(UpOptions(), quiet)


def test_logs_of_a_mesh_are_read_whether_or_not_it_runs(make_mesh: MakeMesh) -> None:
    mesh = make_mesh(TWO)
    with pytest.raises(UnknownProcess, match="none so far"):
        mesh.logs("store", 5, False)
    mesh.up(UpOptions(), quiet)
    following = mesh.logs("worker", 1, True)
    assert next(following) == "worker started"
    mesh.down(quiet)
    assert list(following) == ["worker stopped"]
    everything = list(mesh.logs(None, 100, False))
    assert "store       | store stopped" in everything
    with pytest.raises(UnknownProcess, match="store, supervisord, worker"):
        mesh.logs("envoy", 5, False)
