"""Questions whose refusal is no end: what may not be seen is noted and left out."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from infermesh.cli.kube_doctor.cluster import (
    Cluster,
    ClusterError,
    Forbidden,
    Kind,
    NoAnswer,
    NotFound,
)
from infermesh.cli.kube_doctor.fields import KubeObject
from infermesh.cli.kube_doctor.findings import Finding, FindingClass, ObjectRef, Severity
from infermesh.cli.kube_doctor.kubectl import Kubectl

T = TypeVar("T")

# Without these nothing can be said about a release.
_ESSENTIAL = frozenset({"pods", "deployments.apps", "statefulsets.apps"})


class Reader:
    """Asks the cluster, and remembers what it was refused.

    Unreachable and NotAccepted go through: there is nothing to go on with.

    Args:
        cluster: to ask.
        namespace: of the release.
        kubectl: for commands to show.
    """

    def __init__(self, cluster: Cluster, namespace: str, kubectl: Kubectl) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._kubectl = kubectl
        self._gaps: dict[str, ClusterError] = {}

    def all(self, kind: Kind, labels: str = "") -> tuple[KubeObject, ...]:
        """Objects of the namespace; none when they may not be listed or there is no such kind."""
        return tuple(
            self._try(lambda: self._cluster.list(kind, self._namespace, labels), absent=()) or ()
        )

    def is_served(self, kind: Kind) -> bool | None:
        """Whether the cluster knows the kind; None when it does not tell."""

        def ask() -> bool:
            self._cluster.list(kind, self._namespace)
            return True

        return self._try(ask, absent=False)

    def cluster_wide(self, kind: Kind, name: str) -> KubeObject | Literal[False] | None:
        """An object that is in no namespace; False: there is none; None: not told, which is not
        noted, for few may see such objects."""
        try:
            return self._cluster.get(kind, "", name)
        except NotFound:
            return False
        except (Forbidden, NoAnswer):
            return None

    def everywhere(self, kind: Kind, labels: str) -> Sequence[KubeObject]:
        """Objects of all namespaces; none when they may not be listed, which is not noted."""
        try:
            return self._cluster.list(kind, "", labels)
        except (Forbidden, NotFound, NoAnswer):
            return ()

    def one(self, kind: Kind, name: str) -> KubeObject | None:
        """An object of the namespace; None when there is none or it may not be seen."""
        return self._try(lambda: self._cluster.get(kind, self._namespace, name), absent=None)

    def metadata(self, kind: Kind, name: str) -> KubeObject | Literal[False] | None:
        """Metadata of an object; False: there is none; None: it may not be seen."""
        none: KubeObject | Literal[False] = False
        return self._try(lambda: self._cluster.metadata(kind, self._namespace, name), absent=none)

    def secret_text(self, name: str, key: str) -> str:
        """Text under a key of a Secret; empty when there is none or it may not be read."""
        return (
            self._try(lambda: self._cluster.secret_text(self._namespace, name, key), absent="")
            or ""
        )

    def log(self, pod: str, container: str, *, previous: bool) -> str:
        """The last lines a container printed; empty when there are none or they may not be seen."""
        return (
            self._try(
                lambda: self._cluster.log(self._namespace, pod, container, previous=previous),
                absent="",
                failed="",
            )
            or ""
        )

    def fetch(self, pod: str, port: int, path: str) -> str | None:
        """Body of a GET of a pod; None when it did not come, for whatever reason."""
        return self._try(lambda: self._cluster.fetch(self._namespace, pod, port, path), absent=None)

    def was_refused(self, kind: Kind) -> bool:
        """Whether the kind could not be listed, so that none does not mean that there is none."""
        return f"list {kind.resource}" in self._gaps

    def refusals(self) -> list[Finding]:
        """What could not be looked at: an error for what is essential, else a note."""
        return [self._refusal(error) for error in self._gaps.values()]

    def _try(self, ask: Callable[[], T], *, absent: T | None, failed: T | None = None) -> T | None:
        try:
            return ask()
        except NotFound:
            return absent
        except (Forbidden, NoAnswer) as error:
            if failed is None or isinstance(error, Forbidden):
                self._gaps.setdefault(_topic(error), error)
            return failed

    def _refusal(self, error: ClusterError) -> Finding:
        if not isinstance(error, Forbidden):
            return Finding(
                FindingClass.ACCESS,
                Severity.NOTE,
                (ObjectRef("Cluster", ""),),
                f"Not looked at: {error}.",
                self._kubectl.cluster("cluster-info"),
            )
        essential = error.resource in _ESSENTIAL
        return Finding(
            FindingClass.ACCESS,
            Severity.ERROR if essential else Severity.NOTE,
            (ObjectRef("Namespace", error.namespace),),
            f"{'' if essential else 'Not looked at: '}{_sentence(error)}",
            self._kubectl(f"auth can-i {error.verb} {error.resource}"),
        )


def _topic(error: ClusterError) -> str:
    """What would be noted twice is noted once: a Role that lacks a verb lacks it for all names."""
    return f"{error.verb} {error.resource}" if isinstance(error, Forbidden) else str(error)


def _sentence(error: Forbidden) -> str:
    text = str(error)
    role = f"a Role with the verb {error.verb} on {error.resource} is missing"
    return f"{text[0].upper()}{text[1:]}: {role}."
