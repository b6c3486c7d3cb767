"""Every command in the README and in docs/ runs, against a real mesh."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import infermesh
from infermesh_common.resources.resource_set import ResourceSet, build

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BIN = Path(sys.executable).parent
# What a test must not do again from inside itself, or what stays in the foreground.
NOT_RUN = (
    "git clone",
    "cd ",
    "make test",
    "make lint",
    "make demo",
    "make up",
    "make down",
    "make bench",
)
# Of these only that they are there: they stay in the foreground, or need a cluster.
FOREGROUND = (
    "infermesh up",
    "infermesh down",
    "infermesh logs --follow",
    "infermesh chat",
    "infermesh doctor --kube",
)


def commands(page: Path) -> list[str]:
    """Lines of shell blocks; a trailing backslash joins the next line."""
    found: list[str] = []
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(), re.S):
        found += block.replace("\\\n", " ").splitlines()
    found += [
        line.strip()
        for line in re.findall(r"^    (?:infermesh|curl|make) .*$", page.read_text(), re.M)
    ]
    stripped = (re.sub(r"\s{2,}#.*$", "", line).strip() for line in found)
    return [line for line in stripped if line and not line.startswith("#")]


ALL = sorted({(page.name, line) for page in PAGES for line in commands(page)})


def test_the_documentation_has_commands():
    assert len(ALL) >= 10


@pytest.mark.parametrize(("page", "command"), ALL)
def test_a_documented_command_runs(mesh, page, command, tmp_path):
    if command.startswith("make "):
        listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
        target = command.split()[1]
        pattern = "bench-%" if target.startswith("bench-") else target
        assert re.search(rf"^{re.escape(pattern)}\s", listed, re.M), f"{target} is no target"
        return
    if command.startswith(NOT_RUN):
        return
    command = concrete(mesh, command)
    if command.split("infermesh ", 1)[-1] and command.startswith(FOREGROUND):
        command = " ".join([*shlex.split(command)[:2], "--help"])
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "INFERMESH_ADDRESS": mesh.url,
        "INFERMESH_API_KEY": mesh.key(),
        "KEY": mesh.key(),
        "URL": mesh.url,
    }
    if re.search(r"infermesh (keys|tenants)", command):
        environment["INFERMESH_API_KEY"] = mesh.operator_key
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"{page}: {command}\n{done.stdout}\n{done.stderr}"


def concrete(mesh, command: str) -> str:
    """The command with its placeholders filled in and addresses those of this mesh."""
    command = command.replace("http://127.0.0.1:8080", mesh.url)
    if "DECISION_ID" in command:
        _, headers, _ = mesh.http("POST", "/infer", {"prompt": "x", "model": "scripted"})
        command = command.replace("DECISION_ID", headers["x-infermesh-decision-id"])
        wait_for_event(mesh, headers["x-infermesh-decision-id"])
    if "KEY_ID" in command:
        with mesh.client() as operator:
            command = command.replace("KEY_ID", operator.create_key(tenant="demo").key.key_id)
    for word, value in (("NAME", "scripted"), ("TAG", "team=search"), ("HEX", "0" * 64)):
        command = command.replace(f" {word}", f" {value}")
    return command


def wait_for_event(mesh, event_id: str) -> None:
    with mesh.client("demo") as client:
        for _ in range(200):
            try:
                client.event(event_id)
                return
            except infermesh.NotFoundError:
                subprocess.run(["sleep", "0.1"], check=True)
    raise AssertionError(f"{event_id} did not reach the ledger")


def test_the_resources_in_the_documentation_are_valid():
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/resources.md").read_text(), re.S)
    built = build([("docs", document) for document in yaml.safe_load_all(block)], ResourceSet())
    assert not built.faults
    assert len(built.by_key) == 6
