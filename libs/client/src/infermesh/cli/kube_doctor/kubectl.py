"""Commands that a finding tells to run next."""

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl for one namespace.

    Attributes:
        namespace: of the release.
        context: of the kubeconfig; empty for its current one.
    """

    namespace: str
    context: str = ""

    def __call__(self, command: str) -> str:
        """A command in the namespace."""
        return f"{self._program('kubectl', '--context')} -n {shlex.quote(self.namespace)} {command}"

    def cluster(self, command: str) -> str:
        """A command about the cluster."""
        return f"{self._program('kubectl', '--context')} {command}"

    def helm(self, command: str) -> str:
        """A command of helm in the namespace."""
        program = self._program("helm", "--kube-context")
        return f"{program} -n {shlex.quote(self.namespace)} {command}"

    def doctor(self, release: str = "", namespace: str = "") -> str:
        """The doctor itself."""
        parts = [
            "infermesh doctor --kube",
            f"--namespace {shlex.quote(namespace or self.namespace)}",
        ]
        if release:
            parts.append(f"--release {shlex.quote(release)}")
        if self.context:
            parts.append(f"--context {shlex.quote(self.context)}")
        return " ".join(parts)

    def _program(self, name: str, option: str) -> str:
        return f"{name} {option} {shlex.quote(self.context)}" if self.context else name
