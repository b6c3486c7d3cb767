"""Containers that were ended because they used more memory than they may."""

from datetime import timedelta

from infermesh.cli.kube_doctor.containers import containers_of
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, Severity
from infermesh.cli.kube_doctor.release import Release

# An end longer ago says nothing about today's load.
_RECENT = timedelta(hours=24)


def out_of_memory(pod: KubeObject, release: Release) -> Finding | None:
    """Whether the last end of a container was for want of memory."""
    for container in containers_of(pod):
        end = container.last_end
        if end is None or end.reason != "OOMKilled":
            continue
        if container.ready and end.at is not None and release.now - end.at > _RECENT:
            continue
        limit = _limit(pod, container.name)
        return release.finding(
            FindingClass.MEMORY,
            pod,
            f"Container {container.name} used more memory than its limit ({limit}) and was ended, "
            f"{container.restarts} restarts so far: raise resources.limits.memory.",
            release.kubectl(f"top pod {pod.name} --containers"),
            severity=Severity.WARNING if container.ready else Severity.ERROR,
        )
    return None


def _limit(pod: KubeObject, name: str) -> str:
    every = (*pod.items("spec.initContainers"), *pod.items("spec.containers"))
    limits = (c.text("resources.limits.memory") for c in every if c.text("name") == name)
    return next(limits, "") or "that of the node"
