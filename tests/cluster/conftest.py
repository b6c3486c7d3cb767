"""A cluster for tests. They run with INFERMESH_CLUSTER_TESTS=1; see settings.py for the rest."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.access import Cluster, NoCluster, reach
from tests.cluster.documents import text
from tests.cluster.kubectl import Kubectl
from tests.cluster.loaders import Provided, loader_for, provide
from tests.cluster.namespaces import temporary_namespace
from tests.cluster.releases import Release
from tests.cluster.settings import ENABLED, ROOT, ClusterSettings, read_settings
from tools.cluster_tools import helm_path, kubectl_path
from tools.images.builders import find_builder, kit_folder
from tools.images.catalogue import catalogue

CHART = ROOT / "deploy" / "helm" / "infermesh"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a cluster, unless it was asked for; gives it more time when it was."""
    enabled = read_settings(os.environ).enabled
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            if enabled:
                item.add_marker(pytest.mark.timeout(1800))
            else:
                item.add_marker(pytest.mark.skip(reason=f"needs a cluster: {ENABLED}=1"))


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
def images(cluster: Cluster, cluster_settings: ClusterSettings) -> dict[str, str]:
    """What pods ask for, by "router", "redis", "simulator" and so on; all of it is on the nodes, or
    is pulled by them."""
    every = catalogue(ROOT)
    loader = loader_for(cluster_settings, cluster)
    if loader is None or not cluster_settings.build:
        return {image.key: image.reference for image in every}
    wanted = os.environ.get("INFERMESH_IMAGE_BUILDER") or ("kit" if cluster.is_kits else None)
    builder = find_builder(wanted, kit_folder(os.environ), os.environ)
    system = cluster.kubectl("kube-system").get("namespace", "kube-system")
    provided = Provided(ROOT / "build" / "cluster-images.json", text(system, "metadata", "uid"))
    return provide(every, builder, loader, ROOT, provided)


@pytest.fixture(scope="module")
def namespace(
    request: pytest.FixtureRequest, cluster: Cluster, cluster_settings: ClusterSettings
) -> Iterator[Kubectl]:
    """A namespace of one's own under PodSecurity restricted, as the kubectl that acts in it."""
    kubectl = cluster.kubectl(f"infermesh-test-{uuid.uuid4().hex[:8]}")
    failed_before = request.session.testsfailed

    def keep() -> bool:
        return cluster_settings.keep and request.session.testsfailed > failed_before

    with temporary_namespace(kubectl, keep=keep):
        yield kubectl


@pytest.fixture(scope="module")
def release(
    cluster: Cluster, cluster_settings: ClusterSettings, namespace: Kubectl
) -> Callable[[str], Release]:
    """Makes the chart's release of that name, which is still to be installed."""

    def make(name: str = "infermesh") -> Release:
        helm = cluster.helm(namespace.namespace)
        return Release(
            helm,
            namespace,
            name,
            CHART,
            node_address=cluster.node_address,
            files=cluster_settings.values,
        )

    return make
