"""Which release to look at."""

from collections.abc import Iterable

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.components import INSTANCE_LABEL
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.kubectl import Kubectl
from infermesh.cli.kube_doctor.reading import Reader
from infermesh.cli.kube_doctor.release import selector


def choose(reader: Reader, kubectl: Kubectl, wanted: str) -> str | Finding:
    """The name of the release, or why there is none to look at.

    Args:
        reader: to ask the cluster.
        kubectl: of the namespace.
        wanted: name that was stated; empty: the only one.
    """
    workloads = reader.all(cluster.DEPLOYMENT, selector())
    there = _instances([*workloads, *reader.all(cluster.STATEFUL_SET, selector())])
    if wanted in there:
        return wanted
    if len(there) == 1 and not wanted:
        return there[0]
    if there:
        names = ", ".join(there)
        what = (
            f"There is no release {wanted} in the namespace; there is {names}."
            if wanted
            else f"There are several releases in the namespace: {names}. State one with --release."
        )
        return _finding(kubectl, what, kubectl.doctor(there[0]))
    elsewhere = _elsewhere(reader, wanted)
    if elsewhere:
        name, namespace = elsewhere[0]
        told = ", ".join(f"{n} in namespace {ns}" for n, ns in elsewhere)
        what = f"There is no release of InferMesh in the namespace; there is {told}."
        return _finding(kubectl, what, kubectl.doctor(name, namespace))
    what = "InferMesh is not installed in the namespace: no workload has its labels."
    return _finding(kubectl, what, kubectl.helm("list --all"))


def _elsewhere(reader: Reader, wanted: str) -> list[tuple[str, str]]:
    """(release, namespace) pairs of the rest of the cluster, as far as it may be seen."""
    found = {
        (each.labels.get(INSTANCE_LABEL, ""), each.text("metadata.namespace"))
        for each in reader.everywhere(cluster.DEPLOYMENT, selector(wanted))
    }
    return sorted(pair for pair in found if all(pair))


def _instances(workloads: Iterable[KubeObject]) -> list[str]:
    return sorted({w.labels[INSTANCE_LABEL] for w in workloads if INSTANCE_LABEL in w.labels})


def _finding(kubectl: Kubectl, what: str, next: str) -> Finding:
    about = (ObjectRef("Namespace", kubectl.namespace),)
    return Finding(FindingClass.RELEASE, Severity.ERROR, about, what, next)
