"""Metrics of pods, read inside of them: no NetworkPolicy is in the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.kubectl import Kubectl

_READ = (
    "import sys, urllib.request;"
    " sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
)


class Metrics:
    """Samples of one or more pods.

    Args:
        texts: in Prometheus' form, one for each pod.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._samples: list[tuple[str, Mapping[str, str], float]] = [
            (sample.name, sample.labels, sample.value)
            for text in texts
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def values(self, name: str, **labels: str) -> list[float]:
        """Values of the samples of that name that have these labels."""
        return [
            value
            for sample, there, value in self._samples
            if sample == name and labels.items() <= there.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """Their sum; 0 when there are none."""
        return sum(self.values(name, **labels))


class PodMetrics:
    """Reads them.

    Args:
        kubectl: in the namespace of the pods.
    """

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def read(self, pods: Iterable[str], *, port: int = 9090, path: str = "/metrics") -> Metrics:
        """Metrics of these pods together.

        Args:
            pods: names of pods of the mesh; their images have Python.
            port: of the pod.
            path: there; Envoy's are at port 9902, /stats/prometheus.

        Raises:
            CommandFailed: one does not answer.
        """
        url = f"http://127.0.0.1:{port}{path}"
        return Metrics([self._kubectl.exec(pod, "python", "-c", _READ, url) for pod in pods])
