"""From an empty namespace to an answer, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.documents import each, text
from tests.cluster.figures import record
from tests.cluster.mesh import MeshOnCluster, ask
from tests.cluster.settings import ROOT
from tools.images.builders import Builder
from tools.images.catalogue import catalogue
from tools.images.sizes import measure


@pytest.mark.usefixtures("cluster")
class TestInstall:
    """A mesh as it was installed."""

    def test_the_first_answer_needs_no_key_of_a_provider(self, mesh: MeshOnCluster) -> None:
        with mesh.client() as client:
            assert ask(client, "Say hello.", "smollm2-135m")
        record(install_to_ready_s=round(mesh.install_to_ready_s, 1))

    def test_every_pod_passes_podsecurity_restricted(self, mesh: MeshOnCluster) -> None:
        # The namespace enforces it, so a pod that is here has passed; warnings would be events.
        pods = mesh.kubectl.list("pods", mesh.release.selector)
        violations = [
            text(event, "message")
            for event in mesh.kubectl.list("events")
            if "violates PodSecurity" in text(event, "message")
        ]
        assert len(pods) >= 8
        assert not violations
        record(restricted_violations=len(violations))

    def test_resources_have_a_status_that_says_ready(self, mesh: MeshOnCluster) -> None:
        for kind in ("providers", "models", "tenants", "apikeys", "routepolicies", "cachepolicies"):
            for document in mesh.kubectl.list(f"{kind}.infermesh.dev"):
                states = {
                    text(condition, "type"): text(condition, "status")
                    for condition in each(document, "status", "conditions")
                }
                assert states == {"Accepted": "True", "Ready": "True"}, json.dumps(document)

    def test_helm_test_makes_an_inference(self, mesh: MeshOnCluster) -> None:
        mesh.release.helm.run("test", mesh.release.name, "--timeout", "180s")

    def test_memory_of_an_idle_mesh_is_known(self, mesh: MeshOnCluster) -> None:
        total = 0.0
        for component in ("router", "cache", "governance", "analytics"):
            pod, *_ = mesh.release.pods(component)
            total += mesh.metrics.read([pod]).total("process_resident_memory_bytes")
        assert total > 0
        path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{mesh.kubectl.namespace}/pods"
        used = [
            _bytes(text(container, "usage", "memory"))
            for pod in each(json.loads(mesh.kubectl.run("get", "--raw", path)), "items")
            if text(pod, "metadata", "labels", "app.kubernetes.io/instance") == mesh.release.name
            for container in each(pod, "containers")
        ]
        assert len(used) >= 8
        record(
            services_rss_mb=round(total / 1e6, 1),
            idle_memory_mb=round(sum(used) / 1e6, 1),
            idle_pods=len(used),
        )

    @pytest.mark.usefixtures("images")
    def test_a_service_adds_little_to_the_base_image(
        self, image_builder: Builder | None, tmp_path: Path
    ) -> None:
        if image_builder is None:
            pytest.skip("images are not built here")
        added: dict[str, float] = {}
        limits = {image.key: image.limit_mb for image in catalogue(ROOT) if image.limit_mb}
        for image in catalogue(ROOT):
            if image.key in limits:
                archive = tmp_path / "image.tar"
                image_builder.save(image, archive)
                size = measure(archive, image_builder.base_layers())
                archive.unlink()
                added[image.key] = round(size.added / 1e6, 1)
        record(image_mb_max=max(added.values()))
        assert all(added[key] <= limit for key, limit in limits.items()), added


_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _bytes(quantity: str) -> float:
    unit = _UNITS.get(quantity[-2:])
    return float(quantity[:-2]) * unit if unit else float(quantity)
