"""Images that do not come to the node."""

from infermesh.cli.kube_doctor.containers import containers_of
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass
from infermesh.cli.kube_doctor.last_words import short
from infermesh.cli.kube_doctor.release import Release

_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)


def image_missing(pod: KubeObject, release: Release) -> Finding | None:
    """Whether a container waits for an image that cannot be pulled."""
    for container in containers_of(pod):
        if container.waiting not in _REASONS:
            continue
        # "Back-off pulling image" says nothing; the reason stands in the event of the try before.
        tries = release.events_of(pod, "Failed", "InspectFailed", "ErrImageNeverPull")
        tried = [said for said in tries if container.image in said or "pull" in said.lower()]
        why = short(tried[-1] if tried else container.waiting_message)
        return release.finding(
            FindingClass.IMAGE,
            pod,
            f"The image {container.image} cannot be pulled ({container.waiting}): "
            f"{_hint(why)}{why}",
            release.kubectl(f"describe pod {pod.name}"),
        )
    return None


def _hint(said: str) -> str:
    words = said.lower()
    if any(each in words for each in ("unauthorized", "denied", "authentication", "forbidden")):
        return "the registry wants credentials (global.imagePullSecrets). "
    if any(each in words for each in ("not found", "notfound", "manifest unknown", "not present")):
        return "it does not exist there (image.tag, global.imageRegistry). "
    if any(each in words for each in ("no such host", "timeout", "refused", "unreachable")):
        return "the registry cannot be reached from the node (global.imageRegistry). "
    return ""
