"""From an empty namespace to an answer, and back."""

from __future__ import annotations

import json

import pytest

from tests.cluster.documents import each, text
from tests.cluster.figures import record
from tests.cluster.mesh import MeshOnCluster, ask


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
        for pod in mesh.kubectl.list("pods", mesh.release.selector):
            name = text(pod, "metadata", "name")
            component = text(pod, "metadata", "labels", "app.kubernetes.io/component")
            if component in ("router", "cache", "governance", "analytics"):
                total += mesh.metrics.read([name]).total("process_resident_memory_bytes")
        assert total > 0
        record(services_rss_mb=round(total / 1e6, 1))
