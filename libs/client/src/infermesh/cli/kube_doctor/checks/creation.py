"""Pods whose containers cannot be made because something they mount or read is missing."""

import re

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.checks.scheduling import claims_of
from infermesh.cli.kube_doctor.containers import containers_of
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.mounts import secrets_of
from infermesh.cli.kube_doctor.release import Release

_WAITING = frozenset({"ContainerCreating", "PodInitializing", "CreateContainerConfigError"})


def cannot_be_made(pod: KubeObject, release: Release) -> Finding | None:
    """Whether a container waits for a Secret, a ConfigMap or a volume."""
    waiting = [c for c in containers_of(pod) if c.waiting in _WAITING]
    if not waiting:
        return None
    mounts = release.events_of(pod, "FailedMount", "FailedAttachVolume")
    refused = [c.waiting_message for c in waiting if c.waiting == "CreateContainerConfigError"]
    said = next(iter(refused), mounts[-1] if mounts else "")
    if not said:
        # Nothing is wrong that anybody tells: it is starting, or its image is being pulled.
        return None
    return release.finding(
        _class(said),
        pod,
        f"Its containers cannot be made: {short(said)}",
        release.kubectl(f"describe pod {pod.name}"),
        needs=[
            *(ObjectRef(cluster.SECRET.name, each.name) for each in secrets_of(pod.at("spec"))),
            *claims_of(pod),
        ],
    )


def _class(said: str) -> FindingClass:
    if re.search(r"secret", said, re.IGNORECASE):
        return FindingClass.SECRET
    if re.search(r"configmap", said, re.IGNORECASE):
        return FindingClass.CRASH
    return FindingClass.STORAGE
