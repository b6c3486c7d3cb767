"""The images that are not services start under PodSecurity restricted, without a chart."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from string import Template

import openai
import pytest

from tests.cluster.access import Cluster
from tests.cluster.documents import each, number
from tests.cluster.kubectl import Kubectl
from tests.cluster.readiness import wait_ready

FIXTURES = Path(__file__).parent / "fixtures"


@dataclass(frozen=True)
class Others:
    """Edge, model and simulator, ready."""

    kubectl: Kubectl
    model_key: str


@pytest.fixture(scope="module")
def others(namespace: Kubectl, images: dict[str, str]) -> Others:
    key = secrets.token_hex(16)
    values = {**images, "namespace": namespace.namespace, "model_key": key}
    namespace.apply(Template((FIXTURES / "plain-others.yaml").read_text()).substitute(values))
    wait_ready(namespace)
    return Others(namespace, key)


def ask(url: str, key: str, model: str) -> openai.types.chat.ChatCompletion:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60) as client:
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hello"}], max_tokens=4
        )


def test_the_model_answers_who_knows_its_key_and_nobody_else(others: Others) -> None:
    with others.kubectl.port_forward("deployment/model", 8080) as port:
        url = f"http://127.0.0.1:{port}"
        usage = ask(url, others.model_key, "smollm2-135m").usage
        assert usage is not None and usage.completion_tokens > 0
        with pytest.raises(openai.AuthenticationError):
            ask(url, "another key", "smollm2-135m")


def test_the_edge_runs_by_the_bootstrap_that_its_image_renders(others: Others) -> None:
    with others.kubectl.port_forward("deployment/edge", 8080) as port:
        # There is no mesh behind it; the answer is the edge's own, in OpenAI's shape.
        with pytest.raises(openai.InternalServerError) as error:
            ask(f"http://127.0.0.1:{port}", "key", "any")
    assert isinstance(error.value.body, dict)
    assert error.value.body["code"] == "upstream_unavailable"


def test_the_simulator_is_reached_by_a_port_of_the_node(others: Others, cluster: Cluster) -> None:
    if not cluster.node_address:
        pytest.skip("INFERMESH_CLUSTER_NODE is not set")
    (port,) = each(others.kubectl.get("service", "simulator"), "spec", "ports")
    answer = ask(f"http://{cluster.node_address}:{number(port, 'nodePort')}", "key", "any")
    assert answer.choices[0].message.content
