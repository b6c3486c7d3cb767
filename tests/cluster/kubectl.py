"""kubectl in one namespace of one cluster."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.commands import CommandFailed, Runner, run_command
from tests.cluster.documents import Document, each

# In the class, `list` is a method.
Documents = list[Document]
Words = list[str]
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class Kubectl:
    """Runs kubectl.

    Args:
        binary: kubectl.
        kubeconfig: file that says how the cluster is reached.
        namespace: that is acted in.
        run: runs commands.
    """

    def __init__(
        self, binary: Path, kubeconfig: Path, namespace: str, run: Runner = run_command
    ) -> None:
        self.binary = binary
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self._run = run

    def within(self, namespace: str) -> Kubectl:
        """The same in another namespace."""
        return Kubectl(self.binary, self.kubeconfig, namespace, self._run)

    def run(self, *arguments: str, given: str | None = None, timeout_s: float = 60) -> str:
        """Runs `kubectl <arguments>` and returns what it printed.

        Raises:
            CommandFailed: it failed.
        """
        return self._run([*self._argv(), *arguments], given=given, timeout_s=timeout_s)

    def get(self, kind: str, name: str) -> Document:
        """One object.

        Raises:
            CommandFailed: there is none, among others.
        """
        document: Document = json.loads(self.run("get", kind, name, "-o", "json"))
        return document

    def find(self, kind: str, name: str) -> Document | None:
        """One object, or None when there is none."""
        found = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        document: Document | None = json.loads(found) if found.strip() else None
        return document

    def list(self, kinds: str, selector: str = "") -> Documents:
        """The objects of these kinds (with commas between them) that have the labels."""
        options = ["-l", selector] if selector else []
        return each(json.loads(self.run("get", kinds, *options, "-o", "json")), "items")

    def apply(self, documents: Sequence[Document] | str) -> None:
        """Creates or changes objects; as a text, YAML or JSON."""
        given = documents
        if not isinstance(given, str):
            given = json.dumps({"apiVersion": "v1", "kind": "List", "items": given})
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", given=given)

    def delete(self, kind: str, name: str, *options: str, timeout_s: float = 120) -> None:
        """Deletes an object, if it is there, and waits until it is gone."""
        self.run("delete", kind, name, "--ignore-not-found", *options, timeout_s=timeout_s)

    def exec(self, pod: str, *command: str, container: str = "", timeout_s: float = 60) -> str:
        """Runs a command in a container of a pod, the first one without a name."""
        options = ["-c", container] if container else []
        return self.run("exec", pod, *options, "--", *command, timeout_s=timeout_s)

    def logs(
        self, pod: str, container: str = "", *, previous: bool = False, lines: int = -1
    ) -> str:
        """What a container has written, the last lines of it; empty when that cannot be had."""
        options = ["-c", container] if container else ["--all-containers"]
        options += ["-p"] if previous else []
        try:
            return self.run("logs", pod, *options, f"--tail={lines}")
        except CommandFailed:
            return ""

    @contextmanager
    def port_forward(self, target: str, port: int | str) -> Iterator[int]:
        """A port of loopback that leads to a port of a pod or a Service ("pod/x", "service/x").

        Raises:
            CommandFailed: there is no way there.
        """
        argv = [*self._argv(), "port-forward", "--address", "127.0.0.1", target, f":{port}"]
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                found = _FORWARDING.search(said)
                if found is None:
                    raise CommandFailed(f"{' '.join(argv)}: {said}")
                yield int(found[1])
            finally:
                process.terminate()

    def _argv(self) -> Words:
        return [str(self.binary), "--kubeconfig", str(self.kubeconfig), "-n", self.namespace]
