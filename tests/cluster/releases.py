"""The chart as a release in a namespace, and the way to its edge."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.commands import CommandFailed
from tests.cluster.diagnostics import diagnose
from tests.cluster.documents import dig, each, number, text
from tests.cluster.helm import Helm
from tests.cluster.kubectl import Kubectl
from tests.cluster.namespaces import objects_in
from tests.cluster.readiness import wait_ready


class Release:
    """A release of a chart.

    Args:
        helm: in its namespace.
        kubectl: in its namespace.
        name: of the release.
        chart: folder or archive.
        node_address: of a node, as this machine reaches it; empty when it does not.
        files: of values, for every installation.
    """

    def __init__(
        self,
        helm: Helm,
        kubectl: Kubectl,
        name: str,
        chart: Path,
        *,
        node_address: str = "",
        files: Sequence[Path] = (),
    ) -> None:
        self.helm = helm
        self.kubectl = kubectl
        self.name = name
        self.chart = chart
        self._node_address = node_address
        self._files = tuple(files)

    @property
    def selector(self) -> str:
        """Label of its objects."""
        return f"app.kubernetes.io/instance={self.name}"

    @property
    def fullname(self) -> str:
        """What the names of its objects begin with, as the chart makes it."""
        return self.name if "infermesh" in self.name else f"{self.name}-infermesh"

    def install(
        self, values: Mapping[str, object] | None = None, *options: str, within_s: float = 300
    ) -> None:
        """Installs it, or upgrades it, and waits until all is ready.

        Args:
            values: over those of the files.
            options: of `helm upgrade`.
            within_s: time the pods may take.

        Raises:
            CommandFailed: helm refused.
            NotReady: the pods do not come up; says what there is to be said.
        """
        try:
            self.helm.install(self.name, self.chart, values or {}, self._files, *options)
        except CommandFailed as error:
            raise CommandFailed(f"{error}\n{diagnose(self.kubectl)}") from None
        wait_ready(self.kubectl, self.selector, within_s=within_s)

    def uninstall(self) -> set[str]:
        """Uninstalls it. Returns what is left in the namespace, as Kind/name."""
        self.helm.uninstall(self.name)
        return objects_in(self.kubectl)

    def secret(self, name: str, key: str) -> str:
        """A value of a Secret of the namespace.

        Raises:
            KeyError: the Secret has no such key.
        """
        encoded = text(self.kubectl.get("secret", name), "data", key)
        if not encoded:
            raise KeyError(f"Secret {name} has no {key}")
        return base64.b64decode(encoded).decode().strip()

    @contextmanager
    def edge(self, service: str = "", port: str = "") -> Iterator[str]:
        """Base URL of the edge for the time of the block: a port of a node, or one forwarded.

        Args:
            service: name of the Service; empty: Envoy's.
            port: name of its port; empty: https where there is one, else http.
        """
        service = service or f"{self.fullname}-envoy"
        ports = {
            text(each_port, "name"): each_port
            for each_port in each(self.kubectl.get("service", service), "spec", "ports")
        }
        chosen = port or ("https" if "https" in ports else "http")
        scheme = "https" if chosen == "https" else "http"
        node_port = number(ports[chosen], "nodePort")
        if node_port and self._node_address:
            yield f"{scheme}://{self._node_address}:{node_port}"
        else:
            with self.kubectl.port_forward(f"service/{service}", _port(ports[chosen])) as local:
                yield f"{scheme}://127.0.0.1:{local}"

    def pods(self, component: str) -> list[str]:
        """Names of the pods of a component ("router") that are not about to go."""
        selector = f"{self.selector},app.kubernetes.io/component={component}"
        return [
            text(pod, "metadata", "name")
            for pod in self.kubectl.list("pods", selector)
            if dig(pod, "metadata", "deletionTimestamp") is None
        ]


def _port(port: object) -> int:
    found = number(port, "port")
    if not found:
        raise CommandFailed(f"a Service has no such port: {port}")
    return found
