"""Resources are in force soon, and a wrong one harms nothing."""

from __future__ import annotations

import statistics
import time

import openai
import pytest

from tests.cluster.commands import CommandFailed
from tests.cluster.documents import each, text
from tests.cluster.figures import record
from tests.cluster.mesh import MeshOnCluster, ask
from tests.cluster.polling import until

_TIMES = 10


def model(mesh: MeshOnCluster, name: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "infermesh.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name, "namespace": mesh.kubectl.namespace},
        "spec": {
            "provider": "simulator",
            "upstreamModel": "simulated",
            "contextTokens": 8192,
            "pricing": {"overlay": {"source": "made up", "input": 1, "output": 2}},
            **spec,
        },
    }


def served(client: openai.OpenAI, name: str) -> bool:
    try:
        return bool(ask(client, f"What is {name}?", name))
    except openai.NotFoundError:
        return False


@pytest.mark.usefixtures("cluster")
class TestResources:
    """A mesh whose resources change."""

    def test_a_new_model_is_served_within_two_seconds_and_a_deleted_one_no_more(
        self, mesh: MeshOnCluster
    ) -> None:
        took_ms: list[float] = []
        with mesh.client() as client:
            for number in range(_TIMES):
                name = f"new-{number}"
                mesh.kubectl.apply([model(mesh, name)])
                began = time.monotonic()
                self._until_served(client, name, True)
                took_ms.append((time.monotonic() - began) * 1000)
                mesh.kubectl.delete("models.infermesh.dev", name)
                self._until_served(client, name, False)
        p95 = statistics.quantiles(took_ms, n=20)[-1]
        record(model_propagation_ms_p95=round(p95))
        assert p95 < 2000

    @staticmethod
    def _until_served(client: openai.OpenAI, name: str, wanted: bool) -> None:
        def look() -> bool:
            # Several times in a row: there are several routers.
            return all(served(client, name) is wanted for _ in range(4))

        until(look, what=f"{name} served: {wanted}", within_s=20, every_s=0.02)

    def test_an_invalid_model_is_refused_by_the_api_server(self, mesh: MeshOnCluster) -> None:
        with pytest.raises(CommandFailed, match="contextTokens"):
            mesh.kubectl.apply([model(mesh, "wrong", contextTokens=0)])

    def test_a_model_without_its_provider_is_not_accepted_and_says_why(
        self, mesh: MeshOnCluster
    ) -> None:
        mesh.kubectl.apply([model(mesh, "orphan", provider="nobody")])

        def refused() -> str | None:
            found = mesh.kubectl.get("models.infermesh.dev", "orphan")
            for condition in each(found, "status", "conditions"):
                if text(condition, "type") == "Accepted" and text(condition, "status") == "False":
                    return text(condition, "message")
            return None

        try:
            assert "nobody" in until(refused, what="Accepted=False", within_s=30)
            with mesh.client() as client:
                assert ask(client, "Are you there?")
        finally:
            mesh.kubectl.delete("models.infermesh.dev", "orphan")
