"""How the cluster is found: a kubeconfig, or the pod this runs in."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infermesh.cli.kube_doctor.cluster import Cluster, NoCluster

if TYPE_CHECKING:
    from kubernetes.client import Configuration


_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_NAMESPACE = "default"


class NotInstalled(Exception):
    """The `kubernetes` package is missing; `str()` of it says how to get it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A cluster, and the namespace its configuration is about."""

    cluster: Cluster
    namespace: str


def connect(kubeconfig: str, context: str) -> Connection:
    """The cluster of a kubeconfig; without one, that of the pod this runs in. Asks it nothing yet.

    Args:
        kubeconfig: path, or several with ":" between them; empty: ~/.kube/config.
        context: name of a context in it; empty: its current one.

    Raises:
        NotInstalled: the `kubernetes` package is missing.
        NoCluster: there is no configuration, or it cannot be used.
    """
    try:
        from kubernetes.client import Configuration
    except ModuleNotFoundError as error:
        raise NotInstalled(
            "`infermesh doctor --kube` needs the Python package kubernetes: pip install kubernetes"
        ) from error
    from infermesh.cli.kube_doctor.kubernetes_cluster import KubernetesCluster

    configuration = Configuration()
    file = kubeconfig or str(Path.home() / ".kube" / "config")
    if kubeconfig or context or Path(file).exists():
        namespace = _from_file(file, context, configuration)
    else:
        namespace = _from_pod(configuration)
    return Connection(KubernetesCluster(configuration), namespace)


def _from_file(file: str, context: str, configuration: "Configuration") -> str:
    from kubernetes.config import ConfigException, list_kube_config_contexts, load_kube_config
    from yaml import YAMLError

    try:
        contexts, current = list_kube_config_contexts(file)
        load_kube_config(
            file, context=context or None, client_configuration=configuration, persist_config=False
        )
    except (ConfigException, OSError, YAMLError, ValueError, TypeError) as error:
        raise NoCluster(f"the kubeconfig {file} cannot be used: {error}") from error
    active = next((each for each in contexts if each["name"] == context), current)
    namespace = active["context"].get("namespace")
    return namespace if isinstance(namespace, str) and namespace else _DEFAULT_NAMESPACE


def _from_pod(configuration: "Configuration") -> str:
    from kubernetes.config import ConfigException, load_incluster_config

    try:
        load_incluster_config(client_configuration=configuration)
    except ConfigException as error:
        raise NoCluster(
            "there is no KUBECONFIG, no ~/.kube/config, and this is no pod of a cluster"
        ) from error
    try:
        return _OWN_NAMESPACE.read_text("utf-8").strip() or _DEFAULT_NAMESPACE
    except OSError:
        return _DEFAULT_NAMESPACE
