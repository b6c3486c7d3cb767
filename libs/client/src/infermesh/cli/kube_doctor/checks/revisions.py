"""Replicas of a service that work by different versions of the resources."""

import re
from collections.abc import Iterator
from datetime import timedelta

from infermesh.cli.kube_doctor.components import METRICS_PORT, WATCHERS
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, Severity
from infermesh.cli.kube_doctor.release import Release, is_ready
from infermesh.cli.kube_doctor.resources import last_change

_REVISION = re.compile(
    r'^infermesh_resources_revision\{[^}]*revision="([^"]*)"[^}]*\} 1(?:\.0)?$', re.MULTILINE
)
# A change reaches all replicas within seconds.
_SPREADING = timedelta(seconds=30)


def revisions(release: Release) -> Iterator[Finding]:
    """Services whose replicas do not agree."""
    for component in WATCHERS:
        settled = [
            pod
            for pod in release.pods_of(component)
            if is_ready(pod) and release.age(pod) > _SPREADING
        ]
        if len(settled) < 2:
            continue
        by_pod = {
            pod.name: found
            for pod in settled
            if (found := _revision(release.reader.fetch(pod.name, METRICS_PORT, "metrics")))
        }
        if len(set(by_pod.values())) < 2:
            continue
        told = ", ".join(f"{name} has {found}" for name, found in sorted(by_pod.items()))
        workload = release.workload_of(component)
        yield release.finding(
            FindingClass.REVISION,
            workload if workload is not None else settled[0],
            f"Its pods work by different versions of the resources: {told}.",
            release.kubectl(f"logs {next(iter(by_pod))} --tail=50"),
            severity=Severity.WARNING if _spreading(release) else Severity.ERROR,
        )


def _revision(metrics: str | None) -> str:
    found = _REVISION.search(metrics or "")
    return found.group(1) if found else ""


def _spreading(release: Release) -> bool:
    return any(
        release.now - last_change(each, release.now) < _SPREADING for each in release.resources
    )
