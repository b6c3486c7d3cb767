"""Parts of the mesh that are of different versions."""

from collections.abc import Iterator

from infermesh.cli.kube_doctor.components import PRODUCT
from infermesh.cli.kube_doctor.containers import containers_of
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.release import Release, component_of


def skew(release: Release) -> Iterator[Finding]:
    """Images of InferMesh with several tags, and tags that stand for several images."""
    tags: dict[str, set[str]] = {}
    contents: dict[tuple[str, str], set[str]] = {}
    for pod in release.pods:
        for container in containers_of(pod):
            tag = tag_of(container.image)
            if not tag:
                continue
            tags.setdefault(tag, set()).add(component_of(pod))
            if container.image_id:
                key = (component_of(pod), container.image)
                contents.setdefault(key, set()).add(container.image_id)
    if len(tags) > 1:
        told = "; ".join(f"{tag}: {', '.join(sorted(c))}" for tag, c in sorted(tags.items()))
        yield _finding(release, "", f"The parts of the mesh are of different versions ({told}).")
    for (component, image), ids in sorted(contents.items()):
        if len(ids) > 1:
            what = f"Its pods run different images under the same tag ({image}): the tag moved."
            yield _finding(release, component, what)


def tag_of(image: str) -> str:
    """The tag of an image of InferMesh; empty for other images and for digests."""
    path, _, tag = image.rpartition(":")
    parts = path.split("/")
    ours = "@" not in image and "/" not in tag and parts[-2:-1] == [PRODUCT]
    return tag if ours else ""


def _finding(release: Release, component: str, what: str) -> Finding:
    workload = release.workload_of(component) if component else None
    return release.finding(
        FindingClass.VERSIONS,
        workload if workload is not None else ObjectRef("Release", release.name),
        what,
        release.kubectl.helm(f"history {release.name}"),
        severity=Severity.WARNING,
        component=component,
    )
