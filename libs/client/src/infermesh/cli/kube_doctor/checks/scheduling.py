"""Pods for which there is no node."""

import re

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.release import Release

# Pieces of the scheduler's sentence, in words. Most telling first.
_REASONS = (
    (
        r"Insufficient cpu",
        "no node has enough free CPU; lower resources.requests.cpu or add a node",
    ),
    (
        r"Insufficient memory",
        "no node has enough free memory; lower resources.requests.memory or add a node",
    ),
    (r"Insufficient (\S+?)[,.]", "no node has enough of what the pod asks for"),
    (r"Too many pods", "every node has as many pods as it may have; add a node"),
    (r"unbound immediate PersistentVolumeClaims", "its volume is not there"),
    (r"persistentvolumeclaim .* not found", "its volume claim does not exist"),
    (r"volume node affinity conflict", "its volume is in a zone in which no node is free"),
    (r"untolerated taint", "the nodes have taints that the pod does not tolerate (tolerations)"),
    (r"didn't match Pod's node affinity", "no node has the labels it asks for (nodeSelector)"),
    (r"anti-affinity", "no node is free of the pods it must be apart from (affinity)"),
    (r"topology spread", "its topologySpreadConstraints cannot be met"),
    (r"didn't have free ports", "the port of the node it asks for is taken on every node"),
    (r"node\(s\) were unschedulable", "the nodes are cordoned"),
)


def unscheduled(pod: KubeObject, release: Release) -> Finding | None:
    """Whether the scheduler finds no node for the pod."""
    scheduled = pod.condition("PodScheduled")
    if scheduled.text("status") != "False":
        return None
    said = scheduled.text("message")
    if scheduled.text("reason") == "SchedulingGated":
        said = said or "the pod has scheduling gates"
    why = [words for pattern, words in _REASONS if re.search(pattern, said)]
    # Several can hold, of different nodes; the two general ones only where nothing else does.
    reasons = "; ".join(dict.fromkeys(why[:3])) or "the scheduler found none"
    return release.finding(
        FindingClass.SCHEDULING,
        pod,
        f"It has no node: {reasons}. The scheduler says: {short(said) or 'nothing'}",
        release.kubectl(f"describe pod {pod.name}"),
        needs=claims_of(pod),
    )


def claims_of(pod: KubeObject) -> list[ObjectRef]:
    """The volume claims a pod mounts."""
    names = (v.text("persistentVolumeClaim.claimName") for v in pod.items("spec.volumes"))
    return [ObjectRef(cluster.CLAIM.name, name) for name in names if name]
