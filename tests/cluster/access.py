"""The cluster that tests run on: one that is there, or the kit's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import Runner, run_command
from tests.cluster.documents import each, text
from tests.cluster.helm import Helm
from tests.cluster.kubectl import Kubectl
from tests.cluster.settings import ClusterSettings

KITS_HOST = "198.51.100.1"
"""This machine, to pods in the kit's cluster."""


class NoCluster(RuntimeError):
    """There is no cluster to be had."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that answers.

    Attributes:
        kubeconfig: file that says how it is reached.
        node_address: of a node, as this machine reaches it; empty when it does not.
        host_address: of this machine, as pods reach it; empty when they do not.
        is_kits: whether it is the kit's.
        helm_binary: helm.
        kubectl_binary: kubectl.
    """

    kubeconfig: Path
    node_address: str
    host_address: str
    is_kits: bool
    helm_binary: Path
    kubectl_binary: Path

    def kubectl(self, namespace: str) -> Kubectl:
        """kubectl in that namespace."""
        return Kubectl(self.kubectl_binary, self.kubeconfig, namespace)

    def helm(self, namespace: str) -> Helm:
        """helm in that namespace."""
        return Helm(self.helm_binary, self.kubeconfig, namespace)


def reach(
    settings: ClusterSettings, helm: Path, kubectl: Path, run: Runner = run_command
) -> Cluster:
    """The cluster that KUBECONFIG names; else the kit's, which is brought up and never taken down.

    Args:
        settings: what was decided.
        helm: the command.
        kubectl: the command.
        run: runs commands.

    Raises:
        NoCluster: neither is there.
        CommandFailed: it does not answer, or does not come up.
    """
    kits = _kubeconfig_of(settings.kit, run) if settings.kit else None
    kubeconfig = settings.kubeconfig
    if kubeconfig is None:
        if settings.kit is None or kits is None:
            raise NoCluster("set KUBECONFIG to the file of a cluster")
        # It may have to install packages and to compile.
        run([str(settings.kit / "up")], timeout_s=1800)
        kubeconfig = kits
    is_kits = kits is not None and kubeconfig == kits
    nodes = Kubectl(kubectl, kubeconfig, "default", run).list("nodes")
    address = settings.node_address
    if is_kits and not address:
        addresses = [each(node, "status", "addresses") for node in nodes]
        internal = [a for some in addresses for a in some if text(a, "type") == "InternalIP"]
        address = text(internal[0], "address") if internal else ""
    host = settings.host_address or (KITS_HOST if is_kits else "")
    return Cluster(kubeconfig, address, host, is_kits, helm, kubectl)


def _kubeconfig_of(kit: Path, run: Runner) -> Path | None:
    """Where the kit writes its kubeconfig; it need not be there yet."""
    said = run(["bash", "-c", '. "$1"; echo "KUBECONFIG=$KUBECONFIG"', "bash", str(kit / "lib.sh")])
    found = re.search(r"^KUBECONFIG=(.+)$", said, re.MULTILINE)
    return Path(found[1]) if found else None
