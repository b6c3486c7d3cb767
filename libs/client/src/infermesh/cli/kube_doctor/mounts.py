"""Which Secrets a pod uses."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infermesh.cli.kube_doctor.fields import Fields


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A Secret that must be there for a pod to start.

    Attributes:
        name: of the Secret.
        keys: that it must have.
    """

    name: str
    keys: frozenset[str] = frozenset()


def secrets_of(spec: Fields) -> list[SecretUse]:
    """The Secrets of a pod's spec, or of the one in a template; each once, optional ones not."""
    keys: dict[str, set[str]] = {}
    for use in (*_mounted(spec), *_in_environment(spec)):
        keys.setdefault(use.name, set()).update(use.keys)
    return [SecretUse(name, frozenset(found)) for name, found in keys.items() if name]


def certificates_of(spec: Fields) -> set[str]:
    """The Secrets that a pod mounts a certificate from."""
    mounted = {use.name for use in _mounted(spec) if "tls.crt" in use.keys}
    return mounted | {use.name for use in _mounted(spec) if not use.keys and "tls" in use.name}


def _mounted(spec: Fields) -> Iterator[SecretUse]:
    for volume in spec.items("volumes"):
        secret = volume.at("secret")
        if secret.known and not secret.flag("optional"):
            yield _use(secret.text("secretName"), secret.items("items"))
        for source in volume.items("projected.sources"):
            projected = source.at("secret")
            if projected.known and not projected.flag("optional"):
                yield _use(projected.text("name"), projected.items("items"))


def _in_environment(spec: Fields) -> Iterator[SecretUse]:
    for container in (*spec.items("initContainers"), *spec.items("containers")):
        for variable in container.items("env"):
            one = variable.at("valueFrom.secretKeyRef")
            if one.known and not one.flag("optional"):
                yield SecretUse(one.text("name"), frozenset({one.text("key")}))
        for source in container.items("envFrom"):
            every = source.at("secretRef")
            if every.known and not every.flag("optional"):
                yield SecretUse(every.text("name"))


def _use(name: str, items: Iterable[Fields]) -> SecretUse:
    return SecretUse(name, frozenset(item.text("key") for item in items))
