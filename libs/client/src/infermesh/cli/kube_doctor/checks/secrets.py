"""Secrets that are named and not there, or without the key.

Values are not read. The API server is asked for the metadata alone, whose managedFields name the
keys; a Secret without managedFields is taken to have all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from infermesh.cli.kube_doctor import cluster
from infermesh.cli.kube_doctor.fields import Fields, KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef
from infermesh.cli.kube_doctor.mounts import SecretUse, secrets_of
from infermesh.cli.kube_doctor.release import Release, component_of, ref


@dataclass(slots=True)
class _Uses:
    keys: set[str] = field(default_factory=set)
    users: set[ObjectRef] = field(default_factory=set)
    components: set[str] = field(default_factory=set)


def secrets(release: Release) -> Iterator[Finding]:
    """Secrets of the workloads and of the resources."""
    for name, uses in sorted(_all_uses(release).items()):
        found = release.reader.metadata(cluster.SECRET, name)
        about = ObjectRef(cluster.SECRET.name, name)
        users = ", ".join(str(user) for user in sorted(uses.users))
        # With more than one it is nobody's in particular; the pods name what they need.
        component = uses.components.pop() if len(uses.components) == 1 else ""
        if found is False:
            yield release.finding(
                FindingClass.SECRET,
                about,
                f"It does not exist; needed by {users}.",
                _create(release, name, uses.keys),
                component=component,
            )
        elif isinstance(found, KubeObject):
            have = keys_of(found)
            missing = sorted(uses.keys - have) if have is not None else []
            if missing:
                yield release.finding(
                    FindingClass.SECRET,
                    about,
                    f"It has no key {', '.join(missing)}, only {', '.join(sorted(have or ()))}; "
                    f"needed by {users}.",
                    release.kubectl(f"describe secret {name}"),
                    component=component,
                )


def keys_of(metadata: KubeObject) -> set[str] | None:
    """The keys of a Secret by its managedFields; None when those do not tell."""
    keys: set[str] = set()
    for manager in metadata.items("metadata.managedFields"):
        data = manager.members("fieldsV1").get("f:data")
        if data is not None:
            keys.update(n.removeprefix("f:") for n in data.members() if n.startswith("f:"))
    return keys or None


def references(value: Fields) -> Iterator[SecretUse]:
    """The Secrets that the spec of a resource names, at whatever depth."""
    for name, inner in value.members().items():
        if name == "secret" and inner.text("name") and inner.text("key"):
            yield SecretUse(inner.text("name"), frozenset({inner.text("key")}))
        yield from references(inner)
    for each in value.items():
        yield from references(each)


def _all_uses(release: Release) -> dict[str, _Uses]:
    found: dict[str, _Uses] = {}

    def note(use: SecretUse, user: KubeObject) -> None:
        uses = found.setdefault(use.name, _Uses())
        uses.keys.update(use.keys)
        uses.users.add(ref(user))
        # The absence of a provider's key keeps no pod from starting: resources have no component.
        uses.components.add(component_of(user) if user in release.workloads else "")

    for workload in release.workloads:
        for use in secrets_of(workload.at("spec.template.spec")):
            note(use, workload)
    for resource in release.resources:
        for use in references(resource.at("spec")):
            note(use, resource)
    return found


def _create(release: Release, name: str, keys: set[str]) -> str:
    files = " ".join(f"--from-file={key}=FILE" for key in sorted(keys))
    return release.kubectl(f"create secret generic {name} {files or '--from-file=FILE'}")
