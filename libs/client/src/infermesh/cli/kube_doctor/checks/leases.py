"""Leases by which the replicas of a service agree who writes status."""

from collections.abc import Iterator
from datetime import timedelta

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.components import STATUS_OWNERS
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef
from infermesh.cli.kube_doctor.release import Release

_START = timedelta(seconds=60)


def leases(release: Release) -> Iterator[Finding]:
    """Services of which no replica leads."""
    if release.reader.was_refused(cluster.LEASE):
        return
    for component in sorted(set(STATUS_OWNERS.values())):
        workload = release.workload_of(component)
        if workload is None or release.age(workload) < _START:
            continue
        # The Lease has the name of the workload.
        lease = next((each for each in release.leases if each.name == workload.name), None)
        fault = _fault(lease, release)
        if fault:
            yield release.finding(
                FindingClass.CONTROLLER,
                ObjectRef(cluster.LEASE.name, workload.name),
                f"No replica of {component} leads: {fault}. Until one does, nobody writes the "
                f"status of {_kinds(component)}.",
                release.kubectl(f"logs {workload.kind.lower()}/{workload.name} --tail=50"),
                component=component,
            )


def _fault(lease: KubeObject | None, release: Release) -> str:
    if lease is None:
        return "the Lease was never made (may its ServiceAccount create leases?)"
    holder = lease.text("spec.holderIdentity")
    if not holder:
        return "nobody holds the Lease"
    renewed = lease.moment("spec.renewTime")
    lasts = timedelta(seconds=lease.number("spec.leaseDurationSeconds", 15))
    # Twice: another replica takes over one duration after the last renewal.
    if renewed is None or release.now - renewed > 2 * lasts:
        when = "never" if renewed is None else f"{renewed:%Y-%m-%d %H:%M:%S} UTC"
        return f"{holder} holds the Lease and does not renew it (last: {when})"
    return ""


def _kinds(component: str) -> str:
    return ", ".join(kind for kind, owner in STATUS_OWNERS.items() if owner == component)
