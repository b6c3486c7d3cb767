"""helm in one namespace of one cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from tests.cluster.commands import Runner, run_command


class Helm:
    """Runs helm.

    Args:
        binary: helm.
        kubeconfig: file that says how the cluster is reached.
        namespace: that releases are in.
        run: runs commands.
    """

    def __init__(
        self, binary: Path, kubeconfig: Path, namespace: str, run: Runner = run_command
    ) -> None:
        self._argv = [str(binary), "--kubeconfig", str(kubeconfig), "--namespace", namespace]
        self._run = run

    def run(self, *arguments: str, given: str | None = None, timeout_s: float = 300) -> str:
        """Runs `helm <arguments>` and returns what it printed.

        Raises:
            CommandFailed: it failed.
        """
        # Caches of its own go where the user's are; the cluster is named by an option.
        environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        return self._run(
            [*self._argv, *arguments], given=given, timeout_s=timeout_s, environment=environment
        )

    def install(
        self,
        release: str,
        chart: Path | str,
        values: Mapping[str, object],
        files: Sequence[Path] = (),
        *options: str,
    ) -> str:
        """Installs or upgrades a release; does not wait for its pods.

        Args:
            release: its name.
            chart: folder or archive.
            values: over those of the files.
            files: of values, later ones win.
            options: of `helm upgrade`.
        """
        given = [option for file in files for option in ("-f", str(file))]
        command = ["upgrade", release, str(chart), "--install", *given, "-f", "-", *options]
        return self.run(*command, given=yaml.safe_dump(dict(values)))

    def forcing(self) -> list[str]:
        """Options of `install` by which a release takes back what others have set meanwhile: Helm 4
        refuses without, Helm 3 knows none."""
        option = "--force-conflicts"
        return [option] if option in self.run("upgrade", "--help") else []

    def uninstall(self, release: str) -> str:
        """Uninstalls a release, if it is there, and waits for its objects to go."""
        return self.run("uninstall", release, "--ignore-not-found", "--wait", "--timeout=180s")

    def test(self, release: str) -> str:
        """Runs the tests of a release."""
        return self.run("test", release, "--logs", "--timeout=180s")

    def manifest(self, release: str) -> str:
        """The objects of a release as YAML."""
        return self.run("get", "manifest", release)
