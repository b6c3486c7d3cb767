"""What was read about one release."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.components import (
    COMPONENT_LABEL,
    INSTANCE_LABEL,
    NAME_LABEL,
    PRODUCT,
)
from infermesh.cli.kube_doctor.fields import Fields, KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.kubectl import Kubectl
from infermesh.cli.kube_doctor.reading import Reader

Objects = tuple[KubeObject, ...]


def selector(instance: str = "") -> str:
    """Labels of the objects of a release; without a name of all releases."""
    product = f"{NAME_LABEL}={PRODUCT}"
    return f"{product},{INSTANCE_LABEL}={instance}" if instance else product


def ref(of: KubeObject) -> ObjectRef:
    """How findings name the object."""
    return ObjectRef(of.kind, of.name)


def component_of(labelled: KubeObject) -> str:
    """Part of the mesh an object belongs to; empty when its labels do not say."""
    return labelled.labels.get(COMPONENT_LABEL, "")


@dataclass(frozen=True)
class Release:
    """The objects of a release, and those of its namespace that it uses.

    Attributes:
        name: of the release.
        namespace: it is in.
        now: time by the cluster's clock.
        kubectl: for commands to show.
        reader: for what has to be asked besides.
        pods: that have not ended by themselves and are not leaving.
        workloads: Deployments and StatefulSets.
        replica_sets: of the Deployments.
        services: of the release.
        slices: EndpointSlices of the namespace.
        claims: PersistentVolumeClaims of the namespace.
        autoscalers: of the release.
        budgets: PodDisruptionBudgets of the release.
        leases: of the namespace.
        events: of the namespace, the oldest first.
        resources: what operators declared in the namespace.
    """

    name: str
    namespace: str
    now: datetime
    kubectl: Kubectl
    reader: Reader
    pods: Objects = ()
    workloads: Objects = ()
    replica_sets: Objects = ()
    services: Objects = ()
    slices: Objects = ()
    claims: Objects = ()
    autoscalers: Objects = ()
    budgets: Objects = ()
    leases: Objects = ()
    events: Objects = ()
    resources: Objects = ()

    def finding(
        self,
        kind: FindingClass,
        about: KubeObject | ObjectRef,
        what: str,
        next: str,
        *,
        severity: Severity = Severity.ERROR,
        component: str | None = None,
        needs: Iterable[ObjectRef] = (),
    ) -> Finding:
        """A finding about one object; its component is that of its labels unless stated."""
        if isinstance(about, KubeObject):
            component = component_of(about) if component is None else component
            about = ref(about)
        return Finding(kind, severity, (about,), what, next, component or "", frozenset(needs))

    def pods_of(self, component: str) -> Objects:
        """Pods of a part of the mesh."""
        return tuple(pod for pod in self.pods if component_of(pod) == component)

    def workloads_of(self, component: str) -> Objects:
        """What runs a part of the mesh."""
        return tuple(each for each in self.workloads if component_of(each) == component)

    def workload_of(self, component: str) -> KubeObject | None:
        """The first of them; None: the release does not have the part."""
        return next(iter(self.workloads_of(component)), None)

    def events_of(self, about: KubeObject, *reasons: str) -> list[str]:
        """Messages of the events about an object, the oldest first.

        Args:
            about: the object.
            reasons: only events with one of them; none for all.
        """
        return [
            event.text("message")
            for event in self.events
            if event.text("involvedObject.kind") == about.kind
            and event.text("involvedObject.name") == about.name
            and (not reasons or event.text("reason") in reasons)
        ]

    def age(self, of: KubeObject) -> timedelta:
        """Since it was made; none when that is not known."""
        made = of.moment("metadata.creationTimestamp")
        return timedelta() if made is None else self.now - made


def is_ready(pod: KubeObject) -> bool:
    """Whether traffic goes to the pod."""
    return pod.condition("Ready").text("status") == "True"


def event_time(event: Fields) -> str:
    """When it was last seen, to sort by: all times of the API server are in UTC."""
    times = ("series.lastObservedTime", "lastTimestamp", "eventTime", "metadata.creationTimestamp")
    return next((event.text(each) for each in times if event.text(each)), "")


def read_release(
    name: str, namespace: str, now: datetime, reader: Reader, kubectl: Kubectl
) -> Release:
    """Reads everything that several checks look at."""
    ours = selector(name)
    pods = (p for p in reader.all(cluster.POD, ours) if _counts(p))
    return Release(
        name=name,
        namespace=namespace,
        now=now,
        kubectl=kubectl,
        reader=reader,
        pods=tuple(pods),
        workloads=reader.all(cluster.DEPLOYMENT, ours) + reader.all(cluster.STATEFUL_SET, ours),
        replica_sets=reader.all(cluster.REPLICA_SET, ours),
        services=reader.all(cluster.SERVICE, ours),
        slices=reader.all(cluster.ENDPOINT_SLICE),
        claims=reader.all(cluster.CLAIM),
        autoscalers=reader.all(cluster.AUTOSCALER, ours),
        budgets=reader.all(cluster.DISRUPTION_BUDGET, ours),
        leases=reader.all(cluster.LEASE),
        events=tuple(sorted(reader.all(cluster.EVENT), key=event_time)),
        resources=tuple(each for kind in cluster.RESOURCES for each in reader.all(kind)),
    )


def _counts(pod: KubeObject) -> bool:
    leaving = bool(pod.text("metadata.deletionTimestamp"))
    # Of `helm test`, whose outcome helm tells.
    is_test = "helm.sh/hook" in pod.annotations
    return not leaving and not is_test and pod.text("status.phase") != "Succeeded"
