"""Pods that run and do not answer."""

from datetime import timedelta

from infermesh.cli.kube_doctor.containers import containers_of
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.last_words import failing_dependencies, short
from infermesh.cli.kube_doctor.mounts import secrets_of
from infermesh.cli.kube_doctor.release import Release, is_ready

# A pod that is as young as that may still be starting.
_START = timedelta(seconds=60)


def not_ready(pod: KubeObject, release: Release) -> Finding | None:
    """Whether the pod gets no traffic though it runs, and which probe says so."""
    if is_ready(pod):
        return None
    starting = release.age(pod) < _START
    waiting = [c for c in containers_of(pod) if not c.ready and not (c.is_init and c.ended)]
    names = ", ".join(c.name for c in waiting) or "none by name"
    said = release.events_of(pod, "Unhealthy")
    probe = f" {short(said[-1])}." if said else " No probe has reported yet."
    why = _dependencies(pod, release) if said else ""
    state = "is still starting" if starting and not said else "runs but is not ready"
    return release.finding(
        FindingClass.READINESS,
        pod,
        f"It {state} (containers: {names}).{probe}{why}",
        release.kubectl(f"logs {pod.name} --all-containers --tail=50"),
        severity=Severity.WARNING if starting else Severity.ERROR,
        # A certificate that has expired keeps every service from talking to the others.
        needs=[ObjectRef("Secret", each.name) for each in secrets_of(pod.at("spec"))],
    )


def _dependencies(pod: KubeObject, release: Release) -> str:
    for container in containers_of(pod):
        log = release.reader.log(pod.name, container.name, previous=False)
        failing = failing_dependencies(log)
        if failing:
            return f" By its log these do not answer: {', '.join(failing)}."
    return ""
