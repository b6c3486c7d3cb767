"""PodDisruptionBudgets that let no pod be moved, so that a node cannot be drained."""

from collections.abc import Iterator

from infermesh.cli.kube_doctor.findings import Finding, FindingClass, Severity
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.release import Release


def disruption(release: Release) -> Iterator[Finding]:
    """Budgets that block."""
    for budget in release.budgets:
        expected = budget.number("status.expectedPods")
        allowed = budget.condition("DisruptionAllowed")
        if budget.number("status.disruptionsAllowed") > 0:
            continue
        healthy = budget.number("status.currentHealthy")
        wanted = budget.number("status.desiredHealthy")
        if allowed.text("reason") == "SyncFailed":
            why = f"Kubernetes cannot work it out: {short(allowed.text('message'))}"
        elif expected == 0:
            continue
        elif healthy < wanted:
            why = f"only {healthy} of the {wanted} pods it wants are ready"
        else:
            why = f"it wants {wanted} of {expected} pods ready at all times; run more replicas"
        yield release.finding(
            FindingClass.DISRUPTION,
            budget,
            f"No pod may be moved, so that draining a node waits for ever: {why}.",
            release.kubectl(f"describe pdb {budget.name}"),
            severity=Severity.WARNING,
        )
