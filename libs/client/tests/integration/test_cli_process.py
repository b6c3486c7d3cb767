"""The command as a process: exit codes, streams, and no traceback whatever happens."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infermesh.router.v1 import operations_pb2
from infermesh.testing import ScriptedMesh


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own, in an environment of its own."""
    return subprocess.run(
        [sys.executable, "-m", "infermesh.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONUTF8": "1", **environment},
        check=False,
    )


def test_a_reading_command(mesh: ScriptedMesh) -> None:
    mesh.script("GetHealth", operations_pb2.GetHealthResponse(status="SERVING", version="1"))
    ran = run("health", INFERMESH_ADDRESS=mesh.address)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "SERVING (version 1, configuration unknown)\n"


def test_nobody_listening_is_exit_code_4() -> None:
    ran = run("--address", "127.0.0.1:1", "health")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert ran.stderr.startswith("Error: The mesh at 127.0.0.1:1 cannot be reached: ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("savings", "--by", "colour"),
        ("--address", "ftp://x", "health"),
        ("--address", "m:1", "--timeout", "-1", "health"),
        ("--address", "https://m:1", "--root-certificates", "/absent", "health"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in ran.stderr


def test_a_full_disk_is_one_sentence(mesh: ScriptedMesh) -> None:
    mesh.script("GetHealth", operations_pb2.GetHealthResponse(status="SERVING"))
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "infermesh.cli", "--address", mesh.address, "health"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: unexpected OSError: [Errno 28] No space left on device")
    assert "Traceback" not in ran.stderr


def test_settings_local_mode_cannot_use_are_one_sentence(tmp_path: Path) -> None:
    ran = run(
        "status", INFERMESH_STATE=str(tmp_path), INFERMESH_LOCAL__PUBLIC_PORT="very-secret-value"
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: The settings of local mode cannot be used: public_port")
    assert "very-secret-value" not in ran.stderr


def test_status_of_a_machine_without_a_mesh(tmp_path: Path) -> None:
    ran = run("--state-dir", str(tmp_path / "state"), "status")
    assert (ran.returncode, ran.stdout) == (4, "No mesh runs on this machine.\n")
    found = run("health", INFERMESH_STATE=str(tmp_path / "state"))
    assert found.returncode == 4
    assert found.stderr.startswith("Error: No mesh runs on this machine")
