"""Parts that others cannot do without: Redis, governance, the vault."""

import json
from collections.abc import Iterator

from infermesh.cli.kube_doctor.components import DEPENDENTS, VAULT_PORT
from infermesh.cli.kube_doctor.containers import containers_of
from infermesh.cli.kube_doctor.fields import Fields, KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass
from infermesh.cli.kube_doctor.release import Release, component_of, is_ready, ref

# With these a vault in any state answers 200, for only the body of a 200 comes through.
_HEALTH = "v1/sys/health?standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200"


def dependencies(release: Release) -> Iterator[Finding]:
    """Parts of which no pod is ready."""
    for component, dependents in DEPENDENTS.items():
        workload = release.workload_of(component)
        if workload is None or any(is_ready(pod) for pod in release.pods_of(component)):
            continue
        without = f"without it these do not work: {', '.join(sorted(dependents))}"
        if not dependents:
            without = "keys that were not read yet cannot be read"
        yield release.finding(
            FindingClass.DEPENDENCY,
            workload,
            f"No pod of {component} is ready; {without}.",
            release.kubectl(f"describe {workload.kind.lower()} {workload.name}"),
            # What is wrong with a pod says more.
            needs=[ref(pod) for pod in release.pods_of(component)],
        )


def sealed(pod: KubeObject, release: Release) -> Finding | None:
    """Whether the pod is a vault that gives no secrets out."""
    if component_of(pod) != "vault" or not any(c.running for c in containers_of(pod)):
        return None
    body = release.reader.fetch(pod.name, VAULT_PORT, _HEALTH)
    health = _parsed(body or "")
    if health.at("initialized").known and not health.flag("initialized"):
        what = "The vault runs but was never initialised: it holds no secrets."
    elif health.flag("sealed"):
        what = "The vault is sealed: it gives no keys out until it is unsealed."
    else:
        return None
    return release.finding(
        FindingClass.DEPENDENCY,
        pod,
        what,
        release.kubectl(f"exec {pod.name} -- bao status"),
    )


def _parsed(body: str) -> Fields:
    try:
        return Fields(json.loads(body))
    except ValueError:
        return Fields(None)
