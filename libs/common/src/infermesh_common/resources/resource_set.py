"""A consistent set of resources, and how a new set replaces an old one."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from infermesh_common.resources.types import (
    KINDS,
    ApiKey,
    CachePolicy,
    Model,
    Provider,
    Resource,
    RoutePolicy,
    Tenant,
)

R = TypeVar("R", bound=Resource)
Key = tuple[str, str]
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a resource was refused.

    Attributes:
        where: it stands.
        message: in words that tell what to do.
        reason: in one CamelCase word.
    """

    where: str
    message: str
    reason: str = "Invalid"


@dataclass(frozen=True)
class ResourceSet:
    """Resources by kind and name.

    Attributes:
        by_key: each resource under (kind, name).
        faults: what was refused; an earlier valid version, if any, is in `by_key`.
        revision: 12 hexadecimal digits that change with the content of `by_key`.
        origins: where each resource of `by_key` stands.
    """

    by_key: Mapping[Key, Resource] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    revision: str = ""
    origins: Mapping[Key, str] = field(default_factory=dict)

    def _all(self, kind: type[R]) -> dict[str, R]:
        return {r.name: r for r in self.by_key.values() if isinstance(r, kind)}

    @property
    def providers(self) -> dict[str, Provider]:
        """Providers by name."""
        return self._all(Provider)

    @property
    def models(self) -> dict[str, Model]:
        """Models by name."""
        return self._all(Model)

    @property
    def route_policies(self) -> dict[str, RoutePolicy]:
        """Route policies by name."""
        return self._all(RoutePolicy)

    @property
    def cache_policies(self) -> dict[str, CachePolicy]:
        """Cache policies by name."""
        return self._all(CachePolicy)

    @property
    def tenants(self) -> dict[str, Tenant]:
        """Tenants by name."""
        return self._all(Tenant)

    @property
    def api_keys(self) -> dict[str, ApiKey]:
        """Declared API keys by name."""
        return self._all(ApiKey)


def parse(document: Document, where: str) -> Resource:
    """One resource out of a YAML document.

    Raises:
        ValueError: says what is wrong, without the values.
    """
    if not isinstance(document, Mapping):
        raise ValueError("must be a mapping with apiVersion, kind, metadata and spec")
    name = document.get("kind")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    # status belongs to the controller of a cluster.
    stated = {key: value for key, value in document.items() if key != "status"}
    try:
        # The names of fields in Python are no others: an API server would not know them.
        return kind.model_validate(stated, by_alias=True, by_name=False)
    except ValidationError as error:
        faults = (
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise ValueError("; ".join(faults)) from None


def build(documents: Iterable[tuple[str, Document]], previous: ResourceSet) -> ResourceSet:
    """The set that `documents` declare.

    An invalid document never takes a valid resource away: the version in `previous` stays. Where
    not even its kind and name can be told, everything that stood in the same place stays.

    Args:
        documents: (where it stands, parsed YAML) pairs.
        previous: the set in force.
    """
    by_key: dict[Key, Resource] = {}
    origins: dict[Key, str] = {}
    kept: dict[Key, str] = {}
    unnamed: set[str] = set()
    faults: list[Fault] = []
    for where, document in documents:
        try:
            resource = parse(document, where)
        except ValueError as error:
            faults.append(Fault(where, str(error)))
            if (named := _key_of(document)) is None:
                unnamed.add(where)
            else:
                kept.setdefault(named, where)
            continue
        key = (type(resource).__name__, resource.name)
        if key in by_key:
            twice = f"{key[0]} {key[1]} is declared twice; the first counts"
            faults.append(Fault(where, twice, "Duplicate"))
            continue
        by_key[key] = resource
        origins[key] = where
    for key, where in previous.origins.items():
        if key not in by_key and (key in kept or where in unnamed):
            by_key[key] = previous.by_key[key]
            origins[key] = kept.get(key, where)
    _check_references(by_key, previous, faults)
    origins = {key: where for key, where in origins.items() if key in by_key}
    return ResourceSet(by_key, tuple(faults), _revision(by_key), origins)


def _key_of(document: Document) -> Key | None:
    """Which resource an invalid document is about; None when it does not say."""
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    kind = document.get("kind") if isinstance(document, Mapping) else None
    if not isinstance(kind, str) or kind not in KINDS or not isinstance(name, str):
        return None
    return kind, name


def _references(resource: Resource) -> list[Key]:
    if isinstance(resource, Model):
        return [("Provider", resource.spec.provider)]
    if isinstance(resource, RoutePolicy):
        spec = resource.spec
        names = [*spec.models, *filter(None, [spec.baseline_model]), *spec.fallbacks]
        names += [name for others in spec.fallbacks.values() for name in others]
        return [("Model", name) for name in names]
    if isinstance(resource, Tenant):
        return [
            ("RoutePolicy", resource.spec.route_policy),
            ("CachePolicy", resource.spec.cache_policy),
            *(("Model", name) for name in resource.spec.allowed_models),
        ]
    if isinstance(resource, ApiKey):
        return [("Tenant", resource.spec.tenant)]
    return []


def _check_references(
    by_key: dict[Key, Resource], previous: ResourceSet, faults: list[Fault]
) -> None:
    """Replaces resources that name missing ones by their previous version, or drops them, until
    every reference holds."""
    while True:
        broken = [
            (key, missing)
            for key, resource in by_key.items()
            for missing in _references(resource)
            if missing not in by_key
        ]
        if not broken:
            return
        key, missing = broken[0]
        what = f"names {missing[0]} {missing[1]}: not found"
        faults.append(Fault(f"{key[0]} {key[1]}", what, "ReferenceNotFound"))
        old = previous.by_key.get(key)
        if old is not None and old != by_key[key] and all(r in by_key for r in _references(old)):
            by_key[key] = old
        else:
            del by_key[key]


def _revision(by_key: Mapping[Key, Resource]) -> str:
    content = [by_key[key].model_dump(mode="json") for key in sorted(by_key)]
    # Not orjson, which refuses integers above 64 bits: YAML and the kinds let them in.
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
