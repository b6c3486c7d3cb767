"""The definitions of the resources (CRDs): without them the services have nothing to watch."""

from collections.abc import Iterator

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.cluster import Kind
from infermesh.cli.kube_doctor.components import VERSION_LABEL
from infermesh.cli.kube_doctor.fields import Fields, KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.reading import Reader
from infermesh.cli.kube_doctor.versions import is_older

# Helm installs definitions with the first release and never touches them again.
_APPLY = "helm show crds CHART | kubectl apply --server-side -f -"


def definitions(reader: Reader, client_version: str) -> Iterator[Finding]:
    """What is wrong with the definition of each kind.

    Args:
        reader: to ask the cluster.
        client_version: of this program, for example "0.1.0".
    """
    for kind in cluster.RESOURCES:
        found = reader.cluster_wide(cluster.DEFINITION, kind.resource)
        if isinstance(found, KubeObject):
            yield from _faults(found, kind, client_version)
        elif found is False or reader.is_served(kind) is False:
            # Whoever may not see definitions still learns from the kind itself that it is unknown.
            yield _finding(kind, f"The kind {kind.name} is not defined in the cluster.")


def _faults(definition: KubeObject, kind: Kind, client_version: str) -> Iterator[Finding]:
    established = definition.condition("Established")
    if established.known and established.text("status") != "True":
        names = definition.condition("NamesAccepted")
        yield _finding(
            kind, f"It is not in force: {short(names.text('message') or 'no reason told')}"
        )
    version = _version(definition, kind.version)
    if version is None:
        versions = [v.text("name") for v in definition.items("spec.versions")]
        yield _finding(
            kind, f"It does not serve version {kind.version}, only {', '.join(versions) or 'none'}."
        )
    elif not version.at("subresources.status").known:
        yield _finding(kind, "It has no status, so that no service can tell whether it works.")
    labelled = definition.labels.get(VERSION_LABEL, "")
    if is_older(labelled, client_version):
        yield _finding(
            kind,
            f"It is of version {labelled}, this program of {client_version}: helm never upgrades "
            "definitions.",
            Severity.WARNING,
        )


def _version(definition: KubeObject, name: str) -> Fields | None:
    served = (
        v for v in definition.items("spec.versions") if v.text("name") == name and v.flag("served")
    )
    return next(served, None)


def _finding(kind: Kind, what: str, severity: Severity = Severity.ERROR) -> Finding:
    about = (ObjectRef(cluster.DEFINITION.name, kind.resource),)
    return Finding(FindingClass.DEFINITIONS, severity, about, what, _APPLY)
