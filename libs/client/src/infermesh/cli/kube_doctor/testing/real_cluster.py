"""A real cluster to break things in, by kubectl, and what the doctor tells of it."""

import json
import subprocess
from dataclasses import dataclass
from typing import TypedDict

from typer.testing import CliRunner

from infermesh.cli.app import build_app

# One of its names is a word of Python's, so not a class.
Found = TypedDict(
    "Found",
    {"class": str, "severity": str, "component": str, "what": str, "object": dict[str, str]},
)


@dataclass(frozen=True)
class RealCluster:
    """A cluster to break things in.

    Attributes:
        environment: of commands: KUBECONFIG, and PATH with kubectl.
        namespace: of the test's own.
    """

    environment: dict[str, str]
    namespace: str

    def kubectl(self, *arguments: str, given: object = None) -> str:
        """Runs kubectl in the namespace; `given` is what it reads."""
        ran = subprocess.run(
            ["kubectl", "-n", self.namespace, *arguments],
            env=self.environment,
            input=None if given is None else json.dumps(given),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def apply(self, *manifests: object) -> None:
        """Makes the objects."""
        self.kubectl(
            "apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": manifests}
        )

    def doctor(self, *arguments: str, kubeconfig: str = "") -> "Told":
        """What the doctor tells."""
        ran = CliRunner().invoke(
            build_app(lambda state_dir: None),
            ["doctor", "--kube", "-n", self.namespace, "--output", "json", *arguments],
            env={"KUBECONFIG": kubeconfig or self.environment["KUBECONFIG"]},
        )
        assert ran.stderr == ""
        told = json.loads(ran.stdout)
        assert ran.exit_code == told["exit_code"]
        return Told(ran.exit_code, told["findings"], told["consequences"])


@dataclass(frozen=True)
class Told:
    """A report."""

    exit_code: int
    findings: list[Found]
    consequences: list[Found]

    def what(self, kind: str, component: str = "") -> str:
        """The sentences of a class about a component; empty when there are none."""
        every = [f for f in self.findings if (f["class"], f["component"]) == (kind, component)]
        return " | ".join(f["what"] for f in every)

    @property
    def errors(self) -> set[tuple[str, str]]:
        """(class, component) of what is to be acted on."""
        wrong = (f for f in self.findings if f["severity"] == "error")
        return {(f["class"], f["component"]) for f in wrong}
