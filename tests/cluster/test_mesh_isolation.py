"""A pod can reach, and an account can do, what the design says and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.cluster.mesh import MeshOnCluster, connects
from tests.cluster.settings import ROOT

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
ACCOUNTS = ("router", "cache", "governance", "analytics", "envoy", "redis", "model", "vault")
RIGHTS = Path(__file__).parent / "golden" / "rights.yaml"
_RIGHT = re.compile(
    r"(?P<resource>\S*)\s+\[(?P<urls>[^]]*)\]\s+\[(?P<names>[^]]*)\]\s+\[(?P<verbs>[^]]*)\]"
)


def reaches(mesh: MeshOnCluster, source: str, host: str, port: int) -> bool:
    """Whether a pod of a service can connect."""
    return connects(mesh.kubectl, mesh.release.pods(source)[0], host, port)


@pytest.mark.usefixtures("cluster")
class TestIsolation:
    """A mesh as it was installed."""

    @pytest.mark.parametrize(("source", "target", "port"), ALLOWED)
    def test_an_edge_of_the_design_is_open(
        self, mesh: MeshOnCluster, source: str, target: str, port: int
    ) -> None:
        assert reaches(mesh, source, f"{mesh.release.fullname}-{target}", port)

    @pytest.mark.parametrize(("source", "target", "port"), FORBIDDEN)
    def test_what_is_no_edge_of_the_design_is_closed(
        self, mesh: MeshOnCluster, source: str, target: str, port: int
    ) -> None:
        assert not reaches(mesh, source, f"{mesh.release.fullname}-{target}", port)

    def test_only_the_router_reaches_providers(self, mesh: MeshOnCluster) -> None:
        reach = [
            service
            for service in ("router", "cache", "governance", "analytics", "envoy")
            if reaches(mesh, service, "simulator", 8080)
        ]
        assert reach == ["router"]

    def test_an_account_may_do_what_the_list_says_and_nothing_else(
        self, mesh: MeshOnCluster
    ) -> None:
        found = {account: rights(mesh, account) for account in ACCOUNTS}
        actual = ROOT / "build" / "rights.yaml"
        actual.write_text(yaml.safe_dump(found))
        wanted = yaml.safe_load(RIGHTS.read_text()) if RIGHTS.is_file() else None
        assert found == wanted, f"{actual} is not {RIGHTS}"


def rights(mesh: MeshOnCluster, account: str) -> list[str]:
    """What an account may do beyond what everybody may: resource, names if any, and verbs."""
    user = f"system:serviceaccount:{mesh.kubectl.namespace}:{mesh.release.fullname}-{account}"
    everybody = f"system:serviceaccount:{mesh.kubectl.namespace}:default"
    return sorted(_list(mesh, user) - _list(mesh, everybody))


def _list(mesh: MeshOnCluster, user: str) -> set[str]:
    said = mesh.kubectl.run("auth", "can-i", "--list", "--no-headers", f"--as={user}")
    found = set()
    for line in said.splitlines():
        match = _RIGHT.match(line)
        assert match is not None, line
        verbs = " ".join(sorted(match["verbs"].split()))
        named = f" {match['names']}" if match["names"] else ""
        found.add(f"{match['resource']}{named}: {verbs}")
    return found
