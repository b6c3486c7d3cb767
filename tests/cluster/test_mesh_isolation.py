"""A pod can reach, and an account can do, what the design says and no more."""

from __future__ import annotations

import pytest

from tests.cluster.commands import CommandFailed
from tests.cluster.mesh import MeshOnCluster

_CONNECT = (
    "import socket, sys;"
    " socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close(); print('open')"
)
ALLOWED = [
    ("router", "cache", 50051),
    ("router", "governance", 50051),
    ("router", "redis", 6379),
    ("cache", "governance", 50051),
    ("cache", "redis", 6379),
    ("governance", "redis", 6379),
    ("analytics", "redis", 6379),
]
FORBIDDEN = [
    ("cache", "router", 50051),
    ("cache", "analytics", 50051),
    ("analytics", "router", 50051),
    ("analytics", "cache", 50051),
    ("governance", "cache", 50051),
    ("governance", "model", 8080),
    ("analytics", "model", 8080),
]
ACCOUNTS = ("router", "cache", "governance", "analytics", "envoy", "redis", "model")
NO_RIGHTS = ("analytics", "envoy", "redis", "model")


def connects(mesh: MeshOnCluster, source: str, host: str, port: int) -> bool:
    pod = mesh.release.pods(source)[0]
    try:
        return "open" in mesh.kubectl.exec(pod, "python", "-c", _CONNECT, host, str(port))
    except CommandFailed:
        return False


@pytest.mark.usefixtures("cluster")
class TestIsolation:
    """A mesh as it was installed."""

    @pytest.mark.parametrize(("source", "target", "port"), ALLOWED)
    def test_an_edge_of_the_design_is_open(
        self, mesh: MeshOnCluster, source: str, target: str, port: int
    ) -> None:
        assert connects(mesh, source, f"{mesh.release.fullname}-{target}", port)

    @pytest.mark.parametrize(("source", "target", "port"), FORBIDDEN)
    def test_what_is_no_edge_of_the_design_is_closed(
        self, mesh: MeshOnCluster, source: str, target: str, port: int
    ) -> None:
        assert not connects(mesh, source, f"{mesh.release.fullname}-{target}", port)

    def test_only_the_router_reaches_providers(self, mesh: MeshOnCluster) -> None:
        reach = [
            service
            for service in ("router", "cache", "governance", "analytics", "envoy")
            if connects(mesh, service, "simulator", 8080)
        ]
        assert reach == ["router"]

    @pytest.mark.parametrize("account", NO_RIGHTS)
    def test_an_account_without_business_in_the_api_has_no_rights(
        self, mesh: MeshOnCluster, account: str
    ) -> None:
        assert not rights(mesh, account)

    def test_the_router_may_read_resources_and_write_the_status_of_its_own_kinds(
        self, mesh: MeshOnCluster
    ) -> None:
        allowed = rights(mesh, "router")
        kinds = ("apikeys", "cachepolicies", "models", "providers", "routepolicies", "tenants")
        own = ("cachepolicies", "models", "providers", "routepolicies")
        assert {line for line in allowed if line.split()[0].endswith(".infermesh.dev")} == {
            *(f"{kind}.infermesh.dev get list watch" for kind in kinds)
        }
        assert {line.split()[0] for line in allowed if "/status" in line} == {
            f"{kind}.infermesh.dev/status" for kind in own
        }
        assert not [line for line in allowed if line.startswith(("secrets", "pods", "*"))]


def rights(mesh: MeshOnCluster, account: str) -> set[str]:
    """What an account may do beyond what everybody may: resource and verbs."""
    user = f"system:serviceaccount:{mesh.kubectl.namespace}:{mesh.release.fullname}-{account}"
    everybody = f"system:serviceaccount:{mesh.kubectl.namespace}:default"
    return _list(mesh, user) - _list(mesh, everybody)


def _list(mesh: MeshOnCluster, user: str) -> set[str]:
    said = mesh.kubectl.run("auth", "can-i", "--list", "--no-headers", f"--as={user}")
    found = set()
    for line in said.splitlines():
        resource = line.split()[0]
        verbs = line[line.rindex("[") + 1 : line.rindex("]")]
        if not resource.startswith("["):
            found.add(f"{resource} {' '.join(sorted(verbs.split()))}")
    return found
