"""The bundled OpenBao in its pod, as an operator uses it (docs/secrets.md)."""

from __future__ import annotations

from tests.cluster.mesh import MeshOnCluster
from tests.cluster.readiness import wait_ready

_AS = "/etc/openbao/as"


class VaultPod:
    """Writes and closes it.

    Args:
        mesh: with `vault.enabled`.
    """

    def __init__(self, mesh: MeshOnCluster) -> None:
        self._mesh = mesh
        self._pod = f"{mesh.release.fullname}-vault-0"

    def put(self, path: str, key: str, value: str) -> None:
        """Writes a secret; neither it nor a token is on a command line."""
        self._as("operator", f"bao kv put -mount=infermesh {path} {key}=-", value)

    def seal(self) -> None:
        """Closes it until its pod is deleted."""
        self._as("admin", "bao operator seal")

    def replace(self) -> None:
        """Deletes its pod: the next one opens itself."""
        self._mesh.kubectl.delete("pod", self._pod)
        wait_ready(self._mesh.kubectl, self._mesh.release.selector, within_s=180)

    def _as(self, role: str, command: str, given: str = "") -> None:
        account = f"{self._mesh.release.fullname}-vault-{role}"
        token = self._mesh.kubectl.run("create", "token", "--audience=vault", account).strip()
        self._mesh.kubectl.run(
            *("exec", "-i", self._pod, "--", _AS, role, *command.split()),
            given=f"{token}\n{given}",
        )
