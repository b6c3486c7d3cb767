"""What turns one Kubernetes object into another: patches that can be combined with others.

Lists whose items have a name are patched item by item (a strategic merge). To others items are
appended, or taken out from the end on, so that patches of several components go together.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]
# Names of lists, and the field that names their items: as in Kubernetes' strategic merge.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
_DELETE = "$patch"


def key_of(name: str, items: Sequence[Any]) -> str | None:
    """The field that names the items of the list `name`; None: they have no names."""
    key = _KEYS.get(name)
    if key and items and all(isinstance(item, dict) and key in item for item in items):
        return key
    return None


def merge_patch(old: Object, new: Object, operations: list[Object], path: str = "") -> Object:
    """A strategic merge patch from `old` to `new`; what cannot be one goes into `operations`.

    Args:
        old: an object, or a part of one.
        new: what it is to become.
        operations: gets JSON patches (RFC 6902).
        path: of the part, as in RFC 6901.
    """
    patch: Object = {}
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            patch[name] = None
        elif name not in old:
            patch[name] = new[name]
        elif old[name] != new[name]:
            here = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            _change(patch, name, old[name], new[name], operations, here)
    return patch


def _change(
    patch: Object, name: str, old: Any, new: Any, operations: list[Object], path: str
) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        if part := merge_patch(old, new, operations, path):
            patch[name] = part
    elif isinstance(old, list) and isinstance(new, list):
        if key := key_of(name, [*old, *new]):
            if part_list := _keyed(key, old, new):
                patch[name] = part_list
        else:
            operations += _unkeyed(old, new, path)
    else:
        patch[name] = new


def _keyed(key: str, old: list[Object], new: list[Object]) -> list[Object]:
    before = {item[key]: item for item in old}
    after = {item[key]: item for item in new}
    patches: list[Object] = [
        {key: gone, _DELETE: "delete"} for gone in before.keys() - after.keys()
    ]
    for name, item in after.items():
        if name not in before:
            patches.append(item)
        elif item != before[name]:
            inner: list[Object] = []
            part = merge_patch(before[name], item, inner)
            # A list without names inside of one with names has no path that stays the same.
            patches.append({key: name, **(item if inner else part)})
    return patches


def _unkeyed(old: list[Any], new: list[Any], path: str) -> list[Object]:
    if all(isinstance(item, Mapping) for item in [*old, *new]):
        gone = [place for place, item in enumerate(old) if item not in new]
        added = [item for item in new if item not in old]
        kept = [item for item in old if item in new]
        if new == [*kept, *added] or sorted(map(str, new)) == sorted(map(str, [*kept, *added])):
            removals = [{"op": "remove", "path": f"{path}/{place}"} for place in reversed(gone)]
            additions = [{"op": "add", "path": f"{path}/-", "value": item} for item in added]
            return [*removals, *additions]
    return [{"op": "replace", "path": path, "value": new}]
