"""An installed chart as the mesh of tests that run elsewhere too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import infermesh
from infermesh_common.testing.resources import resource
from tests.cluster.mesh import TENANT, MeshOnCluster
from tests.cluster.polling import until
from tests.e2e.running_mesh import RunningMesh

_SERVICES = ("router", "cache", "governance", "analytics", "envoy")


class ClusterRunningMesh(RunningMesh):
    """See `RunningMesh`.

    Args:
        mesh: installed.
    """

    def __init__(self, mesh: MeshOnCluster) -> None:
        super().__init__(mesh.url, mesh.operator_key, {TENANT: mesh.key})
        self._mesh = mesh

    def logs(self) -> str:
        release = self._mesh.release
        pods = [pod for service in _SERVICES for pod in release.pods(service)]
        return "".join(self._mesh.kubectl.logs(pod) for pod in pods)

    def in_flight(self, service: str) -> int:
        pods = self._mesh.release.pods(service)
        total = self._mesh.metrics.read(pods).total("infermesh_rpc_in_flight", service=service)
        return int(total)

    def add_tenant(self, tenant: str) -> None:
        """Makes a tenant with a key."""
        self.apply([resource("Tenant", tenant)])

        def issued() -> str | None:
            try:
                with self.client() as operator:
                    return operator.create_key(tenant=tenant, role="admin").secret
            except infermesh.InfermeshError:
                return None

        self._keys[tenant] = until(issued, what=f"a key of {tenant}", within_s=30)

    def apply(self, documents: Sequence[Mapping[str, object]]) -> None:
        """Makes resources."""
        self._mesh.kubectl.apply([dict(document) for document in documents])
