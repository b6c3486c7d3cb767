"""Workloads that do not become what was asked for."""

from collections.abc import Iterator

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, Severity
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.release import Release

_REVISION = "deployment.kubernetes.io/revision"


def rollouts(release: Release) -> Iterator[Finding]:
    """The first thing that is wrong with each workload."""
    for workload in release.workloads:
        finding = _common(workload, release) or (
            _deployment(workload, release)
            if workload.kind == cluster.DEPLOYMENT.name
            else _stateful_set(workload, release)
        )
        if finding is not None:
            yield finding


def _common(workload: KubeObject, release: Release) -> Finding | None:
    if workload.number("spec.replicas", 1) == 0:
        return _finding(
            workload,
            release,
            "It is scaled to no pods at all.",
            release.kubectl(f"scale {_name(workload)} --replicas=1"),
        )
    refused = workload.condition("ReplicaFailure")
    said = refused.text("message") if refused.text("status") == "True" else ""
    if not said and workload.kind == cluster.STATEFUL_SET.name and not _pods(workload):
        said = next(iter(release.events_of(workload, "FailedCreate")[-1:]), "")
    if said:
        return _finding(
            workload,
            release,
            f"Kubernetes does not let it make pods: {short(said)}",
            release.kubectl(f"describe {_name(workload)}"),
        )
    if workload.number("status.observedGeneration") < workload.number("metadata.generation"):
        return _finding(
            workload,
            release,
            "Kubernetes has not acted on its last change: is the controller manager at work?",
            release.kubectl(f"describe {_name(workload)}"),
            Severity.WARNING,
        )
    return None


def _deployment(deployment: KubeObject, release: Release) -> Finding | None:
    if deployment.flag("spec.paused"):
        return _finding(
            deployment,
            release,
            "Its rollout is paused.",
            release.kubectl(f"rollout resume {_name(deployment)}"),
            Severity.WARNING,
        )
    old = _old_pods(deployment, release)
    remains = f" {old}" if old else ""
    progress = deployment.condition("Progressing")
    if progress.text("status") == "False":
        return _finding(
            deployment,
            release,
            f"Its rollout has stopped: {short(progress.text('message'))}{remains}",
            release.kubectl(f"rollout status {_name(deployment)}"),
        )
    if old:
        return _finding(
            deployment,
            release,
            f"Its rollout is under way. {old}",
            release.kubectl(f"rollout status {_name(deployment)}"),
            Severity.WARNING,
        )
    return None


def _old_pods(deployment: KubeObject, release: Release) -> str:
    current = deployment.annotations.get(_REVISION, "")
    old = [
        each
        for each in release.replica_sets
        if any(
            o.text("kind") == deployment.kind and o.text("name") == deployment.name
            for o in each.items("metadata.ownerReferences")
        )
        and each.annotations.get(_REVISION, "") != current
        and each.number("status.replicas") > 0
    ]
    told = ", ".join(f"{each.name} has {each.number('status.replicas')} pods" for each in old)
    return f"Old ReplicaSets still run: {told}." if told else ""


def _stateful_set(stateful_set: KubeObject, release: Release) -> Finding | None:
    current = stateful_set.text("status.currentRevision")
    update = stateful_set.text("status.updateRevision")
    if not update or current == update:
        return None
    done = stateful_set.number("status.updatedReplicas")
    return _finding(
        stateful_set,
        release,
        f"Its update is under way: {done} of {_wanted(stateful_set)} pods are of the new revision.",
        release.kubectl(f"rollout status {_name(stateful_set)}"),
        Severity.WARNING,
    )


def _wanted(workload: KubeObject) -> int:
    return workload.number("spec.replicas", 1)


def _pods(workload: KubeObject) -> int:
    return workload.number("status.replicas")


def _name(workload: KubeObject) -> str:
    return f"{workload.kind.lower()}/{workload.name}"


def _finding(
    workload: KubeObject,
    release: Release,
    what: str,
    next: str,
    severity: Severity = Severity.ERROR,
) -> Finding:
    return release.finding(FindingClass.ROLLOUT, workload, what, next, severity=severity)
