"""Every command that asks a mesh fails alike."""

from collections.abc import Callable

import grpc
import pytest
from typer.testing import Result

from infermesh.testing import Failure, ScriptedMesh

Command = Callable[..., Result]
READING = [
    ("savings",),
    ("explain", "d-1"),
    ("models",),
    ("health",),
    ("tenants",),
    ("keys", "list"),
    ("keys", "create"),
    ("keys", "revoke", "k"),
    ("cache", "stats"),
    ("cache", "invalidate", "--all"),
    ("infer", "hi"),
    ("chat", "-m", "hi"),
]
METHODS = (
    "QueryUsage GetEvent ListRegisteredModels GetHealth ListTenants ListKeys CreateKey RevokeKey"
    " GetStats Invalidate InferStream"
).split()


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("UNAUTHENTICATED", 3), ("PERMISSION_DENIED", 3), ("INTERNAL", 1), ("NOT_FOUND", 1)],
)
@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_every_command_fails_with_one_sentence_and_its_code(
    infermesh: Command, mesh: ScriptedMesh, command: tuple[str, ...], code: str, exit_code: int
) -> None:
    failure = Failure(grpc.StatusCode[code], "It went\nwrong.", reason="REASON_X", request_id="r-9")
    for method in METHODS:
        mesh.script(method, failure)
    ran = infermesh(*command)
    assert (ran.exit_code, ran.stdout) == (exit_code, "")
    assert ran.stderr == "Error: It went wrong. (REASON_X, request r-9)\n"
