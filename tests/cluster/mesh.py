"""The chart, installed, with a provider simulator beside it."""

from __future__ import annotations

import dataclasses
import json
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

import openai

from tests.cluster.commands import CommandFailed
from tests.cluster.faults import Faults
from tests.cluster.kubectl import Kubectl
from tests.cluster.pod_metrics import PodMetrics
from tests.cluster.polling import until
from tests.cluster.readiness import wait_ready
from tests.cluster.releases import Release
from tests.cluster.simulator_pod import SimulatorPod

FIXTURES = Path(__file__).parent / "fixtures"
MODEL = "simulated"
TENANT = "demo"
LATENCY_MS = 50
"""Time the simulated provider takes for an answer."""

VALUES: Mapping[str, object] = {
    "router": {"replicas": 2},
    "governance": {"replicas": 2},
    "cache": {"replicas": 2},
    "envoy": {"replicas": 2, "service": {"type": "NodePort"}},
    "trial": {"tenant": TENANT},
    "vault": {"enabled": True},
    "providerSecrets": ["rotated"],
    "mtls": {"enabled": True},
    "networkPolicy": {"providers": {"ports": [443, 8080]}},
}
"""Two of everything that can be two: a test may take one away."""


def values_with(host_address: str) -> Mapping[str, object]:
    """`VALUES`, and the router may reach providers on the machine of the tests.

    Args:
        host_address: of that machine; empty: it may not.
    """
    if not host_address:
        return VALUES
    rule = {"to": [{"ipBlock": {"cidr": f"{host_address}/32"}}]}
    return {**VALUES, "router": {"replicas": 2, "networkPolicy": {"extraEgress": [rule]}}}


@dataclass(frozen=True)
class MeshOnCluster:
    """A release that answers.

    Attributes:
        release: it.
        values: it was installed with.
        kubectl: in its namespace.
        url: of its edge.
        key: API key of the trial's tenant.
        operator_key: of the operator.
        install_to_ready_s: seconds from `helm install` to the first answer.
    """

    release: Release
    values: Mapping[str, object]
    kubectl: Kubectl
    url: str
    key: str
    operator_key: str
    install_to_ready_s: float

    @property
    def faults(self) -> Faults:
        """What may happen to its pods."""
        return Faults(self.kubectl)

    @property
    def metrics(self) -> PodMetrics:
        """Of its pods."""
        return PodMetrics(self.kubectl)

    @property
    def simulator(self) -> SimulatorPod:
        """The provider beside it."""
        return SimulatorPod(self.kubectl)

    def client(self) -> openai.OpenAI:
        """OpenAI's client of it, which tries nothing twice."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=120
        )

    def async_client(self, *, retries: int = 0) -> openai.AsyncOpenAI:
        """The same, asynchronous."""
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key=self.key, max_retries=retries, timeout=120
        )

    def ledger_requests(self) -> int:
        """Answered inferences of `MODEL` that are in the ledger."""
        request = urllib.request.Request(
            f"{self.url}/v1/analytics/usage?filter.model={MODEL}",
            headers={"authorization": f"Bearer {self.key}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            rows = json.load(answer).get("rows", [])
        return sum(int(row.get("requests", 0)) for row in rows)

    def apply(self, fixture: str, **values: object) -> None:
        """Applies a file of `fixtures/` with its placeholders filled in."""
        text = (FIXTURES / fixture).read_text()
        self.kubectl.apply(Template(text).substitute(namespace=self.kubectl.namespace, **values))


_CONNECT = (
    "import socket, sys;"
    " socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close(); print('open')"
)


def connects(kubectl: Kubectl, pod: str, host: str, port: int) -> bool:
    """Whether a pod, whose image has Python, can connect to a port."""
    try:
        return "open" in kubectl.exec(pod, "python", "-c", _CONNECT, host, str(port))
    except CommandFailed:
        return False


def ask(client: openai.OpenAI, question: str, model: str = MODEL) -> str:
    """One answer.

    Raises:
        openai.OpenAIError: there is none.
    """
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], max_tokens=16
    )
    return answer.choices[0].message.content or ""


@contextmanager
def installed(
    release: Release, images: Mapping[str, str], values: Mapping[str, object] = VALUES
) -> Iterator[MeshOnCluster]:
    """Installs the chart and waits for the first answer of the embedded model.

    Args:
        release: still to be installed.
        images: by their keys.
        values: of the chart.
    """
    kubectl = release.kubectl
    began = time.monotonic()
    release.install(values)
    with ExitStack() as stack:
        url = stack.enter_context(release.edge())
        mesh = MeshOnCluster(
            release,
            values,
            kubectl,
            url,
            release.secret(f"{release.fullname}-trial-key", "api-key"),
            release.secret(f"{release.fullname}-operator-key", "operator-key"),
            0.0,
        )
        with mesh.client() as client:
            until(
                _answered(client, "smollm2-135m"),
                what="the first answer of the embedded model",
                within_s=120,
            )
            ready_s = time.monotonic() - began
            mesh.apply("simulated.yaml", simulator=images["simulator"], latency_ms=LATENCY_MS)
            wait_ready(kubectl, "app=simulator")
            until(_answered(client, MODEL), what="the simulated model", within_s=60)
        yield dataclasses.replace(mesh, install_to_ready_s=ready_s)


def _answered(client: openai.OpenAI, model: str) -> Callable[[], bool]:
    def look() -> bool:
        try:
            return ask(client, "Say hello.", model) is not None
        except openai.OpenAIError:
            return False

    return look
