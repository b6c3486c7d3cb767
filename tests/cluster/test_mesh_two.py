"""A second release in a namespace of its own: neither sees the other, and it goes as it came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest

from tests.cluster.commands import CommandFailed
from tests.cluster.kubectl import Kubectl
from tests.cluster.mesh import MeshOnCluster, connects
from tests.cluster.namespaces import objects_outside
from tests.cluster.plugin import NewNamespace, NewRelease
from tests.cluster.releases import Release

# What docs/install.md says stays, to be deleted by hand: data, and secrets that data or users need.
LEFT = {
    "Lease/infermesh-governance",
    "Lease/infermesh-router",
    "PersistentVolumeClaim/data-other-infermesh-analytics-0",
    "PersistentVolumeClaim/data-other-infermesh-redis-0",
    "Pod/other-infermesh-test",
    "Secret/other-infermesh-internal-token",
    "Secret/other-infermesh-model",
    "Secret/other-infermesh-operator-key",
    "Secret/other-infermesh-redis",
    "Secret/other-infermesh-trial-key",
}


@dataclass(frozen=True)
class Other:
    """The second release.

    Attributes:
        release: it.
        kubectl: in its namespace.
    """

    release: Release
    kubectl: Kubectl


@pytest.fixture(scope="module")
def other(
    new_namespace: NewNamespace, new_release: NewRelease, installed_mesh: MeshOnCluster
) -> Iterator[Other]:
    """Installed with the chart's defaults, while the first one runs."""
    assert installed_mesh.url
    with new_namespace() as namespace:
        release = new_release(namespace, "other")
        release.install({})
        yield Other(release, namespace)


@pytest.mark.usefixtures("cluster")
class TestTwoReleases:
    """Two meshes in one cluster."""

    def test_the_defaults_answer(self, other: Other) -> None:
        other.release.helm.test(other.release.name)

    def test_a_key_of_one_is_nothing_to_the_other(self, mesh: MeshOnCluster, other: Other) -> None:
        with other.release.edge() as url:
            strange = openai.OpenAI(base_url=f"{url}/v1", api_key=mesh.key, max_retries=0)
            with strange, pytest.raises(openai.AuthenticationError):
                strange.models.list()

    def test_models_of_one_are_not_offered_by_the_other(
        self, mesh: MeshOnCluster, other: Other
    ) -> None:
        key = other.release.secret(f"{other.release.fullname}-trial-key", "api-key")
        with other.release.edge() as url:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
            with client, mesh.client() as first:
                assert "simulated" in {model.id for model in first.models.list()}
                assert {model.id for model in client.models.list()} == {"auto", "smollm2-135m"}

    @pytest.mark.parametrize(
        ("source", "target", "port"),
        [("router", "cache", 50051), ("router", "redis", 6379), ("cache", "redis", 6379)],
    )
    def test_no_pod_of_one_reaches_a_service_of_the_other(
        self, mesh: MeshOnCluster, other: Other, source: str, target: str, port: int
    ) -> None:
        host = f"{mesh.release.fullname}-{target}.{mesh.kubectl.namespace}.svc"
        assert not connects(other.kubectl, other.release.pods(source)[0], host, port)
        own = f"{other.release.fullname}-{target}"
        assert connects(other.kubectl, other.release.pods(source)[0], own, port)

    def test_the_first_one_may_not_read_secrets_of_the_second(
        self, mesh: MeshOnCluster, other: Other
    ) -> None:
        user = f"system:serviceaccount:{mesh.kubectl.namespace}:{mesh.release.fullname}-router"
        with pytest.raises(CommandFailed):
            other.kubectl.run("auth", "can-i", "get", "secrets", f"--as={user}")
        with pytest.raises(CommandFailed):
            other.kubectl.run("auth", "can-i", "list", "models.infermesh.dev", f"--as={user}")


@pytest.mark.usefixtures("cluster")
class TestUninstall:
    """The second release goes; runs last in this module."""

    def test_what_is_left_is_what_the_documentation_says(
        self, mesh: MeshOnCluster, other: Other
    ) -> None:
        assert other.release.uninstall() == LEFT
        outside = objects_outside(other.kubectl, other.release.selector)
        assert not outside, "what is in no namespace goes too"
        with mesh.client() as client:
            assert "simulated" in {model.id for model in client.models.list()}
