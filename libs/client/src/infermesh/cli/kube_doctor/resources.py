"""How the resources of operators hang together."""

from collections.abc import Iterator
from datetime import datetime

from infermesh.cli.kube_doctor.fields import Fields, KubeObject
from infermesh.cli.kube_doctor.findings import ObjectRef

# Under the name of a field of a spec: the kind of what it names.
_NAMES = {
    "provider": "Provider",
    "models": "Model",
    "baselineModel": "Model",
    "allowedModels": "Model",
    "fallbacks": "Model",
    "routePolicy": "RoutePolicy",
    "cachePolicy": "CachePolicy",
    "tenant": "Tenant",
}


def names_others(resource: KubeObject) -> set[ObjectRef]:
    """The resources that this one names: without them it cannot work."""
    return {
        ObjectRef(_NAMES[name], other)
        for name, inner in resource.members("spec").items()
        if name in _NAMES
        for other in _texts(inner)
    }


def last_change(resource: KubeObject, now: datetime) -> datetime:
    """When somebody last changed what is wanted of it, by its managedFields; else when it was
    made; else `now`."""
    changes = [
        moment
        for manager in resource.items("metadata.managedFields")
        if not manager.text("subresource") and (moment := manager.moment("time")) is not None
    ]
    made = resource.moment("metadata.creationTimestamp")
    return max([*changes, *([made] if made is not None else [])], default=now)


def _texts(value: Fields) -> Iterator[str]:
    if value.text():
        yield value.text()
    for each in value.items():
        yield from _texts(each)
    for name, each in value.members().items():
        # `fallbacks` maps models to models.
        yield name
        yield from _texts(each)
