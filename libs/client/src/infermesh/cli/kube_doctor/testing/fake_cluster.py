"""A cluster in memory, and how to break what is in it."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TypeAlias

from infermesh.cli.kube_doctor import cluster as kinds
from infermesh.cli.kube_doctor.cluster import (
    ClusterError,
    Forbidden,
    Kind,
    NoAnswer,
    NotFound,
)
from infermesh.cli.kube_doctor.fields import Fields, KubeObject
from infermesh.inference import JsonValue

Json: TypeAlias = dict[str, JsonValue]

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)
NAMESPACE = "ai"


def ago(**duration: float) -> str:
    """A time before `NOW` as the API server writes it: ago(minutes=5)."""
    return (NOW - timedelta(**duration)).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeCluster:
    """Implements `Cluster` with objects in memory.

    Attributes:
        forbidden: (verb, resource) pairs that are refused.
        failure: raised by every question, when set.
        logs: text by (pod, container, previous).
        pages: body by (pod, port, first part of the path); others do not answer.
        read_secrets: names of the Secrets of which a value was read.
    """

    def __init__(self) -> None:
        self.forbidden: set[tuple[str, str]] = set()
        self.failure: ClusterError | None = None
        self.logs: dict[tuple[str, str, bool], str] = {}
        self.pages: dict[tuple[str, int, str], str] = {}
        self.read_secrets: list[str] = []
        self._objects: dict[tuple[str, str, str], Json] = {}
        self.unknown_kinds: set[str] = set()

    def add(
        self, kind: Kind, name: str, value: Json | None = None, namespace: str = NAMESPACE
    ) -> None:
        """Puts an object there; what `value` does not say of its metadata is filled in."""
        made = dict(value or {})
        given = made.get("metadata")
        metadata: Json = {
            "name": name,
            "namespace": namespace,
            "generation": 1,
            "creationTimestamp": ago(days=2),
        }
        metadata.update(given if isinstance(given, dict) else {})
        made["metadata"] = metadata
        self._objects[kind.name, namespace, name] = made

    def set(self, kind: Kind, name: str, path: str, value: JsonValue) -> None:
        """Changes one field, for example "status.phase"."""
        namespace = "" if kind in (kinds.DEFINITION, kinds.STORAGE_CLASS) else NAMESPACE
        at = self._objects[kind.name, namespace, name]
        *way, last = path.split(".")
        for step in way:
            inner = at.get(step)
            if not isinstance(inner, dict):
                inner = at[step] = {}
            at = inner
        at[last] = value

    def remove(self, kind: Kind, name: str = "") -> None:
        """Takes an object away, or all of a kind."""
        for key in [*self._objects]:
            if key[0] == kind.name and name in ("", key[2]):
                del self._objects[key]

    def event(self, kind: Kind, name: str, reason: str, message: str) -> None:
        """Something that happened to an object, after all that was told before."""
        number = sum(key[0] == "Event" for key in self._objects)
        self.add(
            kinds.EVENT,
            f"{name}.{number}",
            {
                "involvedObject": {"kind": kind.name, "name": name},
                "reason": reason,
                "message": message,
                "lastTimestamp": ago(minutes=10, seconds=-number),
            },
        )

    def now(self) -> datetime:
        """`NOW`."""
        self._may("get", "/version", "")
        return NOW

    def list(self, kind: Kind, namespace: str, labels: str = "") -> Sequence[KubeObject]:
        """Objects of the kind."""
        self._may("list", kind.resource, namespace)
        if kind.name in self.unknown_kinds:
            raise NotFound(kind.resource)
        wanted = [tuple(pair.split("=")) for pair in labels.split(",") if pair]
        return [
            found
            for (name, where, _), value in self._objects.items()
            if name == kind.name and namespace in ("", where)
            for found in [KubeObject(name, value)]
            if all(found.labels.get(label) == text for label, text in wanted)
        ]

    def get(self, kind: Kind, namespace: str, name: str) -> KubeObject:
        """One object."""
        self._may("get", kind.resource, namespace)
        value = self._objects.get((kind.name, namespace, name))
        if value is None:
            raise NotFound(name)
        return KubeObject(kind.name, value)

    def metadata(self, kind: Kind, namespace: str, name: str) -> KubeObject:
        """Its metadata, and nothing else."""
        found = self.get(kind, namespace, name)
        metadata = self._objects[kind.name, namespace, found.name]["metadata"]
        return KubeObject(kind.name, {"metadata": metadata})

    def secret_text(self, namespace: str, name: str, key: str) -> str:
        """Of a Secret whose `data` is not encoded here."""
        found = self.get(kinds.SECRET, namespace, name).members("data").get(key)
        self.read_secrets.append(name)
        if found is None:
            raise NotFound(key)
        return found.text()

    def log(self, namespace: str, pod: str, container: str, *, previous: bool) -> str:
        """What `logs` has."""
        self._may("get", "pods/log", namespace)
        if (pod, container, previous) not in self.logs:
            raise NoAnswer("get pods/log: 400, no such container")
        return self.logs[pod, container, previous]

    def fetch(self, namespace: str, pod: str, port: int, path: str) -> str:
        """What `pages` has."""
        self._may("get", "pods/proxy", namespace)
        for (name, number, start), body in self.pages.items():
            if (name, number) == (pod, port) and path.startswith(start):
                return body
        raise NoAnswer(f"get pods/proxy: 503, {pod}:{port} refused the connection")

    def _may(self, verb: str, resource: str, namespace: str) -> None:
        if self.failure is not None:
            raise self.failure
        if (verb, resource) in self.forbidden:
            raise Forbidden(verb, resource, namespace)


def first_status(cluster: FakeCluster, name: str) -> Fields:
    """What the kubelet tells of the first container of a pod."""
    return cluster.get(kinds.POD, NAMESPACE, name).items("status.containerStatuses")[0]


def container(cluster: FakeCluster, name: str, **changes: JsonValue) -> None:
    """Changes what the kubelet tells of the only container of a pod; not ready means the pod."""
    status = {n: v.value for n, v in first_status(cluster, name).members().items()}
    status.update(changes)
    cluster.set(kinds.POD, name, "status.containerStatuses", [status])
    if changes.get("ready") is False:
        condition(cluster, kinds.POD, name, "Ready", "False")


def condition(
    cluster: FakeCluster,
    kind: Kind,
    name: str,
    of: str,
    status: str,
    reason: str = "",
    message: str = "",
) -> None:
    """Sets one condition of an object and leaves the others."""
    found = cluster.get(kind, NAMESPACE if kind != kinds.DEFINITION else "", name)
    others = [c.value for c in found.items("status.conditions") if c.text("type") != of]
    new: Json = {"type": of, "status": status, "reason": reason, "message": message}
    cluster.set(kind, name, "status.conditions", [*others, new])
