"""What the API says about workloads and pods, in a few words. Pure: takes and returns data."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cluster.documents import Document, dig, each, name, number, text

HOPELESS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Reasons for which a container waits and that do not pass by themselves in a test."""
RESTARTS = 4
"""So many, and a container does not come up any more."""


def unfinished(workload: Document) -> str | None:
    """Why a Deployment, StatefulSet or DaemonSet is not as it was asked to be; None: it is."""
    status = dig(workload, "status")
    if number(status, "observedGeneration") < number(workload, "metadata", "generation"):
        return "not looked at yet"
    wanted = _wanted(workload)
    for field in _FIELDS[text(workload, "kind")]:
        there_are = number(status, field)
        if there_are != wanted:
            return f"{field} {there_are} of {wanted}"
    if number(status, "replicas") > wanted:
        return f"{number(status, 'replicas') - wanted} old pods are still there"
    revisions = {text(status, "currentRevision"), text(status, "updateRevision")}
    if text(workload, "kind") == "StatefulSet" and wanted and len(revisions) > 1:
        return "pods of the old revision are still there"
    return None


_FIELDS = {
    "Deployment": ("updatedReplicas", "readyReplicas", "availableReplicas"),
    "StatefulSet": ("readyReplicas", "availableReplicas"),
    "DaemonSet": ("updatedNumberScheduled", "numberReady"),
}


def _wanted(workload: Document) -> int:
    if text(workload, "kind") == "DaemonSet":
        return number(workload, "status", "desiredNumberScheduled")
    replicas = dig(workload, "spec", "replicas")
    return replicas if isinstance(replicas, int) else 1


def refused(workload: Document) -> str | None:
    """Why its pods may not even be made (PodSecurity, quota, a missing ServiceAccount)."""
    for condition in each(workload, "status", "conditions"):
        if text(condition, "type") == "ReplicaFailure" and text(condition, "status") == "True":
            return text(condition, "message")
    return None


def is_ready(pod: Document) -> bool:
    """Whether a pod takes requests; one that has done its work and ended well counts as well."""
    if text(pod, "status", "phase") == "Succeeded":
        return True
    conditions = each(pod, "status", "conditions")
    return any(text(c, "type") == "Ready" and text(c, "status") == "True" for c in conditions)


def containers(pod: Document) -> Iterator[Document]:
    """States of its containers, those that run first included."""
    yield from each(pod, "status", "initContainerStatuses")
    yield from each(pod, "status", "containerStatuses")


def restarts(pod: Document) -> int:
    """How often its containers were started again."""
    return sum(number(container, "restartCount") for container in containers(pod))


def trouble(pod: Document) -> str | None:
    """Why a pod will not become ready by itself; None: it may."""
    for container in containers(pod):
        waiting = dig(container, "state", "waiting")
        reason = text(waiting, "reason")
        if reason in HOPELESS:
            return f"{text(container, 'name')}: {reason}: {text(waiting, 'message')}"
        if number(container, "restartCount") >= RESTARTS and not is_ready(pod):
            last = dig(container, "lastState", "terminated")
            how = f"status {number(last, 'exitCode')} {text(last, 'reason')}".strip()
            return f"{text(container, 'name')}: ended {RESTARTS} times, with {how}"
    return None


def line(pod: Document) -> str:
    """A pod in a line."""
    state = "ready" if is_ready(pod) else "NOT READY"
    reasons = [text(c, "state", "waiting", "reason") for c in containers(pod)]
    why = ", ".join(reason for reason in reasons if reason)
    phase = text(pod, "status", "phase")
    return f"{name(pod):60} {phase:10} {state:10} restarts {restarts(pod)} {why}".rstrip()
