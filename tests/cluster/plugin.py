"""Fixtures of a cluster: a plugin of pytest, loaded by `make e2e-cluster`, since tests in more than
one folder use them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.cluster.access import Cluster, NoCluster, reach
from tests.cluster.documents import text
from tests.cluster.kubectl import Kubectl
from tests.cluster.loaders import Provided, loader_for, provide
from tests.cluster.mesh import MeshOnCluster, installed, values_with
from tests.cluster.namespaces import temporary_namespace
from tests.cluster.releases import Release
from tests.cluster.running_mesh import ClusterRunningMesh
from tests.cluster.settings import ROOT, ClusterSettings, read_settings
from tools.cluster_tools import helm_path, kubectl_path
from tools.images.builders import Builder, find_builder, kit_folder
from tools.images.catalogue import catalogue

CHART = ROOT / "deploy" / "helm" / "infermesh"


@pytest.fixture(scope="session")
def cluster_settings() -> ClusterSettings:
    """What was decided."""
    return read_settings(os.environ)


@pytest.fixture(scope="session")
def cluster(cluster_settings: ClusterSettings) -> Cluster:
    """A cluster that answers. It stays when the tests are done."""
    try:
        return reach(cluster_settings, helm_path(), kubectl_path())
    except NoCluster as error:
        pytest.fail(str(error))


@pytest.fixture(scope="session")
def image_builder(cluster: Cluster, cluster_settings: ClusterSettings) -> Builder | None:
    """Builds the images; None when those that are there are taken."""
    if not cluster_settings.build:
        return None
    wanted = os.environ.get("INFERMESH_IMAGE_BUILDER") or ("kit" if cluster.is_kits else None)
    return find_builder(wanted, kit_folder(os.environ), os.environ)


@pytest.fixture(scope="session")
def images(
    cluster: Cluster, cluster_settings: ClusterSettings, image_builder: Builder | None
) -> dict[str, str]:
    """What pods ask for, by "router", "redis", "simulator" and so on; all of it is on the nodes, or
    is pulled by them."""
    every = catalogue(ROOT)
    loader = loader_for(cluster_settings, cluster)
    if loader is None or not cluster_settings.build:
        return {image.key: image.reference for image in every}
    assert image_builder is not None, "settings have images built"
    system = cluster.kubectl("kube-system").get("namespace", "kube-system")
    provided = Provided(ROOT / "build" / "cluster-images.json", text(system, "metadata", "uid"))
    return provide(every, image_builder, loader, ROOT, provided)


NewNamespace = Callable[[], AbstractContextManager[Kubectl]]
NewRelease = Callable[[Kubectl, str], Release]


@pytest.fixture(scope="session")
def new_namespace(
    request: pytest.FixtureRequest, cluster: Cluster, cluster_settings: ClusterSettings
) -> NewNamespace:
    """Makes a namespace under PodSecurity restricted: the kubectl that acts in it."""

    def make() -> AbstractContextManager[Kubectl]:
        kubectl = cluster.kubectl(f"infermesh-test-{uuid.uuid4().hex[:8]}")
        failed_before = request.session.testsfailed

        def keep() -> bool:
            return cluster_settings.keep and request.session.testsfailed > failed_before

        return temporary_namespace(kubectl, keep=keep)

    return make


@pytest.fixture(scope="module")
def namespace(new_namespace: NewNamespace) -> Iterator[Kubectl]:
    """A namespace of a module's own, as the kubectl that acts in it."""
    with new_namespace() as kubectl:
        yield kubectl


@pytest.fixture(scope="session")
def new_release(cluster: Cluster, cluster_settings: ClusterSettings) -> NewRelease:
    """Makes the chart's release of that name in a namespace; it is still to be installed."""

    def make(namespace: Kubectl, name: str) -> Release:
        return Release(
            cluster.helm(namespace.namespace),
            namespace,
            name,
            CHART,
            node_address=cluster.node_address,
            files=cluster_settings.values,
        )

    return make


@pytest.fixture(scope="session")
def installed_mesh(
    cluster: Cluster,
    new_namespace: NewNamespace,
    new_release: NewRelease,
    images: dict[str, str],
) -> Iterator[MeshOnCluster]:
    """The chart, installed with two of everything. A test leaves it as it found it."""
    with new_namespace() as namespace:
        release = new_release(namespace, "infermesh")
        with installed(release, images, values_with(cluster.host_address)) as found:
            yield found


@pytest.fixture(scope="session")
def cluster_running_mesh(installed_mesh: MeshOnCluster) -> ClusterRunningMesh:
    """The same, as tests know it that run elsewhere too, with a second tenant."""
    running = ClusterRunningMesh(installed_mesh)
    running.add_tenant("acme")
    return running
