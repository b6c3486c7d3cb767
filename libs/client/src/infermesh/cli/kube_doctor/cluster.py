"""The cluster, as the doctor needs it: reading only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from infermesh.cli.kube_doctor.fields import KubeObject


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects.

    Attributes:
        name: "Pod".
        plural: "pods".
        group: "apps"; empty for the core group.
        version: of the group.
    """

    name: str
    plural: str
    group: str = ""
    version: str = "v1"

    @property
    def resource(self) -> str:
        """As Roles and kubectl name it: "deployments.apps"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


POD = Kind("Pod", "pods")
SERVICE = Kind("Service", "services")
EVENT = Kind("Event", "events")
SECRET = Kind("Secret", "secrets")
CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims")
STORAGE_CLASS = Kind("StorageClass", "storageclasses", "storage.k8s.io")
DEPLOYMENT = Kind("Deployment", "deployments", "apps")
STATEFUL_SET = Kind("StatefulSet", "statefulsets", "apps")
REPLICA_SET = Kind("ReplicaSet", "replicasets", "apps")
ENDPOINT_SLICE = Kind("EndpointSlice", "endpointslices", "discovery.k8s.io")
AUTOSCALER = Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling", "v2")
DISRUPTION_BUDGET = Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy")
LEASE = Kind("Lease", "leases", "coordination.k8s.io")
DEFINITION = Kind("CustomResourceDefinition", "customresourcedefinitions", "apiextensions.k8s.io")
CERTIFICATE = Kind("Certificate", "certificates", "cert-manager.io")

GROUP = "infermesh.dev"
VERSION = "v1alpha1"
RESOURCES = tuple(
    Kind(name, plural, GROUP, VERSION)
    for name, plural in (
        ("Provider", "providers"),
        ("Model", "models"),
        ("RoutePolicy", "routepolicies"),
        ("CachePolicy", "cachepolicies"),
        ("Tenant", "tenants"),
        ("ApiKey", "apikeys"),
    )
)
"""What operators declare; what others refer to comes first."""


class ClusterError(Exception):
    """A question that got no answer; `str()` of it says why."""


class NoCluster(ClusterError):
    """It is not known which cluster to ask."""


class Unreachable(ClusterError):
    """The API server cannot be reached, or cannot be trusted."""


class NotAccepted(ClusterError):
    """The API server does not accept the credentials."""


class Forbidden(ClusterError):
    """The credentials may not do this.

    Args:
        verb: "get", "list" or "create" as in a Role.
        resource: as in a Role, for example "deployments.apps" or "pods/log".
        namespace: empty for the whole cluster.
        name: of the one object that was asked for; empty for any.
    """

    def __init__(self, verb: str, resource: str, namespace: str, name: str = "") -> None:
        self.verb, self.resource, self.namespace, self.name = verb, resource, namespace, name
        where = f"in namespace {namespace}" if namespace else "in the whole cluster"
        which = f" {name}" if name else ""
        super().__init__(f"you may not {verb} {resource}{which} {where}")


class NotFound(ClusterError):
    """There is no such object, or no such kind of objects."""


class NoAnswer(ClusterError):
    """The cluster was reached but this failed: an overloaded API server, a pod behind its proxy."""


class Cluster(Protocol):
    """Questions to the API server. Every method raises ClusterError."""

    def now(self) -> datetime:
        """The time by the cluster's clock: that of this machine may be wrong."""

    def list(self, kind: Kind, namespace: str, labels: str = "") -> Sequence[KubeObject]:
        """All objects of a kind.

        Args:
            kind: which.
            namespace: empty for all namespaces.
            labels: selector, for example "a=b,c=d"; empty for all.
        """

    def get(self, kind: Kind, namespace: str, name: str) -> KubeObject:
        """One object; `namespace` is empty for kinds that are in none."""

    def metadata(self, kind: Kind, namespace: str, name: str) -> KubeObject:
        """Only the metadata of an object: the API server sends nothing else of it."""

    def secret_text(self, namespace: str, name: str, key: str) -> str:
        """The text under one key of a Secret; for certificates only. Raises NotFound without it."""

    def log(self, namespace: str, pod: str, container: str, *, previous: bool) -> str:
        """The last lines of what a container printed.

        Args:
            namespace: of the pod.
            pod: its name.
            container: in it.
            previous: of the one before the last restart.
        """

    def fetch(self, namespace: str, pod: str, port: int, path: str) -> str:
        """GET of a pod's HTTP port through the API server; the body of a 200."""
