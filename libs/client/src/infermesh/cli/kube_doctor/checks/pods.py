"""The one thing that is most wrong with each pod."""

from collections.abc import Callable, Iterator

from infermesh.cli.kube_doctor.checks.crashes import crashing, restarted_often
from infermesh.cli.kube_doctor.checks.creation import cannot_be_made
from infermesh.cli.kube_doctor.checks.dependencies import sealed
from infermesh.cli.kube_doctor.checks.images import image_missing
from infermesh.cli.kube_doctor.checks.memory import out_of_memory
from infermesh.cli.kube_doctor.checks.readiness import not_ready
from infermesh.cli.kube_doctor.checks.scheduling import unscheduled
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding
from infermesh.cli.kube_doctor.release import Release

# In the order of a pod's life, so that the first is the cause of the others.
_STAGES: tuple[Callable[[KubeObject, Release], Finding | None], ...] = (
    unscheduled,
    cannot_be_made,
    image_missing,
    out_of_memory,
    crashing,
    sealed,
    not_ready,
    restarted_often,
)


def pods(release: Release) -> Iterator[Finding]:
    """What keeps each pod from its work."""
    for pod in release.pods:
        found = (stage(pod, release) for stage in _STAGES)
        first = next((each for each in found if each is not None), None)
        if first is not None:
            yield first
