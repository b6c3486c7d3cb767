"""Namespaces for tests, and what is left when they are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tests.cluster.commands import CommandFailed
from tests.cluster.documents import Document, name, text
from tests.cluster.kubectl import Kubectl

RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}
_OF_KUBERNETES = frozenset({"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"})
_OF_NO_INTEREST = frozenset({"Event", "Endpoints", "EndpointSlice", "PodMetrics"})
"""Kinds that come and go with others."""


@contextmanager
def temporary_namespace(
    kubectl: Kubectl, labels: Mapping[str, str] | None = None, *, keep: Callable[[], bool] = bool
) -> Iterator[Kubectl]:
    """The namespace that kubectl acts in, for the time of the block, under PodSecurity restricted.

    Args:
        kubectl: in the namespace.
        labels: further ones.
        keep: asked at the end: whether it is to stay, to be looked at.

    Raises:
        CommandFailed: it is there already, or does not go away.
    """
    document = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": kubectl.namespace, "labels": {**RESTRICTED, **(labels or {})}},
    }
    kubectl.run("create", "namespace", kubectl.namespace)
    try:
        kubectl.apply([document])
        yield kubectl
    finally:
        if not keep():
            kubectl.delete("namespace", kubectl.namespace, "--wait", timeout_s=180)


def objects_in(kubectl: Kubectl) -> set[str]:
    """What is in the namespace, as Kind/name, without what Kubernetes itself puts there."""
    kinds = kubectl.run("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    found: list[Document] = []
    for kind in kinds:
        if kind.partition(".")[0] not in ("events", "endpoints", "endpointslices"):
            found += _those(kubectl, kind, "")
    named = {f"{text(each, 'kind')}/{name(each)}" for each in found if not _is_going(each)}
    return {
        each for each in named - _OF_KUBERNETES if each.partition("/")[0] not in _OF_NO_INTEREST
    }


def objects_outside(kubectl: Kubectl, selector: str) -> set[str]:
    """What is in no namespace and has these labels, as Kind/name."""
    kinds = kubectl.run("api-resources", "--verbs=list", "--namespaced=false", "-o", "name").split()
    found = [each for kind in kinds for each in _those(kubectl, kind, selector)]
    return {f"{text(each, 'kind')}/{name(each)}" for each in found if not _is_going(each)}


def volumes_of(kubectl: Kubectl) -> set[str]:
    """Names of the volumes that are or were bound to claims in the namespace."""
    return {
        name(volume)
        for volume in kubectl.list("persistentvolumes")
        if text(volume, "spec", "claimRef", "namespace") == kubectl.namespace
    }


def _those(kubectl: Kubectl, kind: str, selector: str) -> list[Document]:
    try:
        return kubectl.list(kind, selector)
    except CommandFailed:
        # Listed, and yet not to be had: the server of its API is away, or the kind has just gone.
        return []


def _is_going(document: Document) -> bool:
    return bool(text(document, "metadata", "deletionTimestamp"))
