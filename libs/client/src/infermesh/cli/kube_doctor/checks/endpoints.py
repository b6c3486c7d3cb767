"""Services behind which nobody answers."""

from collections.abc import Iterator

from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass
from infermesh.cli.kube_doctor.release import Release, is_ready

_OF_SERVICE = "kubernetes.io/service-name"


def endpoints(release: Release) -> Iterator[Finding]:
    """Services without a ready endpoint."""
    for service in release.services:
        wanted = service.texts("spec.selector")
        if not wanted or _ready_endpoints(service, release):
            continue
        chosen = [pod for pod in release.pods if wanted.items() <= pod.labels.items()]
        ready = sum(is_ready(pod) for pod in chosen)
        if not chosen:
            labels = ", ".join(f"{k}={v}" for k, v in sorted(wanted.items()))
            why = f"no pod of the release has the labels it selects ({labels})"
        elif not ready:
            why = f"none of its {len(chosen)} pods is ready"
        else:
            why = f"{ready} of its pods are ready, but its ports name none that they have"
        yield release.finding(
            FindingClass.ENDPOINTS,
            service,
            f"Nobody answers behind it: {why}.",
            release.kubectl(f"describe service {service.name}"),
        )


def _ready_endpoints(service: KubeObject, release: Release) -> int:
    return sum(
        len(endpoint.items("addresses"))
        for piece in release.slices
        if piece.labels.get(_OF_SERVICE) == service.name and piece.items("ports")
        for endpoint in piece.items("endpoints")
        # Not stated means ready, by the API's own word.
        if endpoint.flag("conditions.ready", default=True)
    )
