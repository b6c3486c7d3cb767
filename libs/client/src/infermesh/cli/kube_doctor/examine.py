"""The whole examination: what is asked in which order, and what is told in the end."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from infermesh.cli.kube_doctor.checks.autoscalers import autoscalers
from infermesh.cli.kube_doctor.checks.certificates import certificates
from infermesh.cli.kube_doctor.checks.definitions import definitions
from infermesh.cli.kube_doctor.checks.dependencies import dependencies
from infermesh.cli.kube_doctor.checks.disruption import disruption
from infermesh.cli.kube_doctor.checks.endpoints import endpoints
from infermesh.cli.kube_doctor.checks.leases import leases
from infermesh.cli.kube_doctor.checks.pods import pods
from infermesh.cli.kube_doctor.checks.releases import choose
from infermesh.cli.kube_doctor.checks.revisions import revisions
from infermesh.cli.kube_doctor.checks.rollouts import rollouts
from infermesh.cli.kube_doctor.checks.secrets import secrets
from infermesh.cli.kube_doctor.checks.skew import skew
from infermesh.cli.kube_doctor.checks.statuses import statuses
from infermesh.cli.kube_doctor.checks.storage import storage
from infermesh.cli.kube_doctor.cluster import RESOURCES, Cluster
from infermesh.cli.kube_doctor.effects import separate
from infermesh.cli.kube_doctor.findings import Finding, by_cause, exit_code, merged
from infermesh.cli.kube_doctor.kubectl import Kubectl
from infermesh.cli.kube_doctor.reading import Reader
from infermesh.cli.kube_doctor.release import Release, read_release

_CHECKS: tuple[Callable[[Release], Iterator[Finding]], ...] = (
    secrets,
    certificates,
    storage,
    pods,
    dependencies,
    rollouts,
    endpoints,
    leases,
    statuses,
    revisions,
    autoscalers,
    disruption,
    skew,
)


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor tells.

    Attributes:
        namespace: that was looked at.
        release: that was looked at; empty when there was none to look at.
        findings: what to act on, the worst first.
        consequences: what is likely to be well again once the findings are.
        pods: how many were looked at.
        resources: how many of the operators' resources were looked at.
    """

    namespace: str
    release: str
    findings: Sequence[Finding]
    consequences: Sequence[Finding] = ()
    pods: int = 0
    resources: int = 0

    @property
    def exit_code(self) -> int:
        """0 when nothing is wrong, else that of the worst class."""
        return exit_code(self.findings)


def examine(cluster: Cluster, kubectl: Kubectl, wanted: str, client_version: str) -> Report:
    """Looks at one release.

    Args:
        cluster: to ask.
        kubectl: of the namespace; for commands to show.
        wanted: name of the release; empty: the only one of the namespace.
        client_version: of this program.

    Raises:
        ClusterError: the cluster cannot be asked at all.
    """
    namespace = kubectl.namespace
    now = cluster.now()
    reader = Reader(cluster, namespace, kubectl)
    undefined = list(definitions(reader, client_version))
    chosen = choose(reader, kubectl, wanted)
    refused = [each for each in reader.refusals() if each.is_error]
    if refused:
        # Without the right to see workloads there is no telling whether there is a release.
        return _report(namespace, "", [*undefined, *refused])
    if isinstance(chosen, Finding):
        # Nothing at all is not a release whose definitions are missing.
        nothing = len(undefined) == len(RESOURCES)
        return _report(namespace, "", [chosen, *([] if nothing else undefined)])
    release = read_release(chosen, namespace, now, reader, kubectl)
    found = [*undefined, *(each for check in _CHECKS for each in check(release))]
    return _report(
        namespace,
        chosen,
        [*found, *reader.refusals()],
        pods=len(release.pods),
        resources=len(release.resources),
    )


def _report(
    namespace: str, release: str, found: Sequence[Finding], pods: int = 0, resources: int = 0
) -> Report:
    findings, consequences = separate(merged(found))
    return Report(namespace, release, by_cause(findings), by_cause(consequences), pods, resources)
