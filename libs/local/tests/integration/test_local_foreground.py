"""A mesh in the foreground: whoever started it is asked to end, or is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from infermesh_local import LocalMesh, LocalSettings, MeshInfo, UpOptions
from infermesh_local.process_table import processes_of
from infermesh_local.testing import StandIn, StandInBlueprint

MakeMesh = Callable[..., LocalMesh]
Eventually = Callable[[Callable[[], bool]], None]
BLUEPRINT = StandInBlueprint(((StandIn("store"),), (StandIn("worker"),)))
PROGRAM = """
import sys
from infermesh_local import LocalMesh, UpOptions
from infermesh_local.testing import StandIn, StandInBlueprint

flags = tuple(sys.argv[1:])
blueprint = StandInBlueprint(((StandIn("store"),), (StandIn("worker", flags=flags),)))

def say(line):
    print(line, flush=True)

LocalMesh(blueprint=blueprint).up(UpOptions(foreground=True), say, lambda info: say(info.url))
say("over")
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(settings: LocalSettings, make_mesh: MakeMesh) -> Iterator[Start]:
    """Starts a program that runs a mesh in the foreground."""
    make_mesh(BLUEPRINT)
    started: list[subprocess.Popen[str]] = []
    environment = dict(settings.environment)

    def run(*flags: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *flags],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(program)
        return program

    yield run
    for program in started:
        program.kill()
        program.wait()
        assert program.stdout is not None
        program.stdout.close()


def read_until(program: subprocess.Popen[str], text: str) -> None:
    """Reads the program's output up to a line that holds a text."""
    assert program.stdout is not None
    for line in program.stdout:
        if text in line:
            return
    raise AssertionError(f"never said {text!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_brings_everything_down(
    start: Start, settings: LocalSettings, number: signal.Signals
) -> None:
    program = start()
    read_until(program, "http://")
    program.send_signal(number)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert output.endswith("over\n")
    assert processes_of(settings.state_dir.resolve()) == []


def test_a_signal_during_the_start_undoes_it(start: Start, settings: LocalSettings) -> None:
    program = start("--never-ready")
    read_until(program, "starting worker")
    program.send_signal(signal.SIGTERM)
    output, _ = program.communicate(timeout=60)
    assert "KeyboardInterrupt" in output and "over" not in output
    assert processes_of(settings.state_dir.resolve()) == []


def test_impatient_interrupts_leave_nothing_behind(
    start: Start, settings: LocalSettings, eventually: Eventually
) -> None:
    program = start()
    read_until(program, "http://")

    def interrupt() -> bool:
        program.send_signal(signal.SIGINT)
        return program.poll() is not None

    eventually(interrupt)
    assert processes_of(settings.state_dir.resolve()) == []


def test_it_ends_when_the_mesh_is_stopped_from_elsewhere(start: Start, make_mesh: MakeMesh) -> None:
    program = start()
    read_until(program, "http://")
    make_mesh(BLUEPRINT).down(lambda line: None)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    assert output.splitlines()[-2:] == ["the mesh is no longer running", "over"]


def test_it_clears_up_when_the_supervisor_dies(
    start: Start, make_mesh: MakeMesh, settings: LocalSettings
) -> None:
    program = start()
    read_until(program, "http://")
    info = make_mesh(BLUEPRINT).status().info
    assert info is not None
    os.kill(info.supervisor_pid, signal.SIGKILL)
    program.communicate(timeout=60)
    assert processes_of(settings.state_dir.resolve()) == []


def test_the_mesh_outlives_a_caller_that_is_killed(start: Start, make_mesh: MakeMesh) -> None:
    program = start()
    read_until(program, "http://")
    program.kill()
    program.wait()
    mesh = make_mesh(BLUEPRINT)
    assert mesh.status().ready
    mesh.down(lambda line: None)
    assert processes_of(mesh.state_dir) == []


def test_signals_are_left_to_a_caller_outside_the_main_thread(make_mesh: MakeMesh) -> None:
    mesh = make_mesh(BLUEPRINT)
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def ready(info: MeshInfo) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    with ThreadPoolExecutor() as pool:
        pool.submit(mesh.up, UpOptions(), lambda line: None, ready).result(timeout=60)
    assert seen == [before]
