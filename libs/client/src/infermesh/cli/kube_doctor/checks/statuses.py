"""What the services say about the resources, and whether they say anything."""

import re
from collections.abc import Iterator
from datetime import timedelta

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.checks.secrets import references
from infermesh.cli.kube_doctor.components import STATUS_OWNERS
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.release import Release, ref
from infermesh.cli.kube_doctor.resources import last_change, names_others

# A leader writes what changed within seconds.
_PATIENCE = timedelta(seconds=30)
_VAULT = re.compile(r"^Vault(Sealed|Unavailable)$")
# As the services name what may be wrong with a secret, wherever it stands.
_KEY = re.compile(r"Key|Secret|Credential|^Vault|^Kubernetes")


def statuses(release: Release) -> Iterator[Finding]:
    """Resources that nobody looks after, that were refused, or that do not work."""
    for owner in sorted(set(STATUS_OWNERS.values())):
        yield from _unattended(owner, release)
    for resource in release.resources:
        finding = _refused(resource, release) or _broken(resource, release)
        if finding is not None:
            yield finding


def _unattended(owner: str, release: Release) -> Iterator[Finding]:
    workload = release.workload_of(owner)
    owned = [each for each in release.resources if STATUS_OWNERS[each.kind] == owner]
    settled = [r for r in owned if release.now - last_change(r, release.now) > _PATIENCE]
    silent = [r for r in settled if not r.items("status.conditions")]
    behind = [
        r
        for r in settled
        if r not in silent
        and r.number("status.observedGeneration") < r.number("metadata.generation")
    ]
    name = workload.name if workload is not None else ""
    logs = release.kubectl(
        f"logs {workload.kind.lower()}/{name} --tail=50" if workload else "get pods"
    )
    for resources, what in (
        (silent, f"It has no status: {owner}, which should write it, has not seen it."),
        (behind, f"Its status is about an earlier version: {owner} has not seen the last change."),
    ):
        for resource in resources:
            yield release.finding(
                FindingClass.CONTROLLER,
                resource,
                what,
                logs,
                component=owner,
                needs=[ObjectRef(cluster.LEASE.name, name)],
            )


def _refused(resource: KubeObject, release: Release) -> Finding | None:
    accepted = resource.condition("Accepted")
    if accepted.text("status") != "False":
        return None
    # What it names may be there and refused itself.
    dangling = accepted.text("reason").startswith("Reference")
    return release.finding(
        FindingClass.RESOURCE,
        resource,
        f"It was refused ({accepted.text('reason')}): {short(accepted.text('message'))}",
        release.kubectl(f"edit {resource.kind.lower()} {resource.name}"),
        component="",
        needs=names_others(resource) if dangling else (),
    )


def _broken(resource: KubeObject, release: Release) -> Finding | None:
    ready = resource.condition("Ready")
    if ready.text("status") != "False":
        return None
    reason = ready.text("reason")
    kind, component, needs = FindingClass.RESOURCE, "", names_others(resource)
    if _VAULT.search(reason):
        kind, component = FindingClass.DEPENDENCY, "vault"
        needs = {ref(each) for each in (*release.pods_of("vault"), *release.workloads_of("vault"))}
    elif _KEY.search(reason):
        kind = FindingClass.KEY
        needs = {
            ObjectRef(cluster.SECRET.name, use.name) for use in references(resource.at("spec"))
        }
    return release.finding(
        kind,
        resource,
        f"It does not work ({reason}): {short(ready.text('message'))}",
        release.kubectl(f"describe {resource.kind.lower()} {resource.name}"),
        component=component,
        needs=needs,
    )
