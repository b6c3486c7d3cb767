"""Volume claims without a volume."""

from collections.abc import Iterator
from datetime import timedelta

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.checks.scheduling import claims_of
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.release import Release, component_of, ref

# Provisioning of a volume takes some seconds in most clouds.
_PROVISIONING = timedelta(seconds=60)


def storage(release: Release) -> Iterator[Finding]:
    """Claims of the release's pods that are not bound."""
    users = {claim: component_of(pod) for pod in release.pods for claim in claims_of(pod)}
    for claim in release.claims:
        if ref(claim) not in users or claim.text("status.phase") == "Bound":
            continue
        why = _why(claim, release)
        if why:
            yield release.finding(
                FindingClass.STORAGE,
                claim,
                why,
                release.kubectl(f"describe pvc {claim.name}"),
                component=users[ref(claim)],
            )


def _why(claim: KubeObject, release: Release) -> str:
    """Empty when the claim waits rightly."""
    if claim.text("status.phase") == "Lost":
        return "Its volume is gone, and the data with it unless there is a backup."
    name = claim.text("spec.storageClassName")
    if name and release.reader.cluster_wide(cluster.STORAGE_CLASS, name) is False:
        return f"The StorageClass {name} does not exist (storageClassName in the values)."
    failures = release.events_of(claim, "ProvisioningFailed", "FailedBinding")
    if failures:
        return f"No volume is made for it: {short(failures[-1])}"
    if not name:
        return "It names no StorageClass and the cluster has no default one."
    waits = release.events_of(claim, "WaitForFirstConsumer", "WaitForPodScheduled")
    if waits or release.age(claim) < _PROVISIONING:
        # It gets its volume when its pod has a node; that is for the check of pods.
        return ""
    said = release.events_of(claim)
    return f"It waits for a volume: {short(said[-1]) if said else 'nobody says why'}"
