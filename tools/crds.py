"""Generates the custom resource definitions of the chart from the kinds, or checks them.

python tools/crds.py generate    writes deploy/helm/infermesh/crds
python tools/crds.py check       fails when what is there is out of step with the kinds

A field means the same in a file and in a cluster: the kinds of `infermesh_common.resources.types`
are the one schema. What a definition cannot say (references, forms of map keys) the services check,
and write into the status.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from infermesh_common.kubernetes.status_schema import STATUS
from infermesh_common.resources.declaration import Column, plural, short_name
from infermesh_common.resources.types import API_VERSION, KINDS, Resource, Spec

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy/helm/infermesh/crds"
HEADER = (
    "# Generated from libs/common/src/infermesh_common/resources/types.py by"
    " `python tools/crds.py generate`.\n"
)
Schema = dict[str, Any]

_TAKEN_OVER = ("type", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems")
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _subclasses(of: type[Spec]) -> Iterator[type[Spec]]:
    for kind in of.__subclasses__():
        yield kind
        yield from _subclasses(kind)


def _summary(kind: type) -> str:
    """The text of a docstring up to its sections, in one line."""
    text = (inspect.getdoc(kind) or "").partition("\n\nAttributes:")[0]
    return " ".join(text.split())


def _attributes(kind: type) -> dict[str, str]:
    """What the `Attributes:` section of a docstring says, by field."""
    section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    entries = re.split(r"^    (\w+): ", section, flags=re.MULTILINE)[1:]
    return {
        name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)
    }


class _Structural:
    """Turns JSON schema as pydantic writes it into what a definition may hold: no references, no
    alternatives, a type everywhere but for amounts."""

    def __init__(self) -> None:
        self._parts = {part.__name__: part for part in _subclasses(Spec)}

    def part(self, part: type[Spec], definitions: Mapping[str, Schema]) -> Schema:
        """The schema of a part of a resource."""
        source = part.model_json_schema() if not definitions else definitions[part.__name__]
        definitions = definitions or source.get("$defs", {})
        documented = _attributes(part)
        names = {field.alias or name: name for name, field in part.model_fields.items()}
        schema: Schema = {"type": "object"}
        if required := source.get("required"):
            schema["required"] = required
        schema["properties"] = {
            name: self._field(field, documented.get(names[name], ""), definitions)
            for name, field in source["properties"].items()
        }
        if part.rules:
            schema["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message} for rule in part.rules
            ]
        return schema

    def _field(self, field: Schema, text: str, definitions: Mapping[str, Schema]) -> Schema:
        """The schema of one field, with what people should know of it."""
        nullable, field = _without_null(field)
        reference = str(field.get("$ref", "")).rpartition("/")[2]
        schema: Schema = {}
        if reference and (not text or text.lower().startswith("see `")):
            text = _summary(self._parts[reference])
        if not reference and field.get("default") not in (None, "", [], {}):
            text = f"{text} Default: {_shown(field['default'])}.".lstrip()
        if text:
            schema["description"] = text[0].upper() + text[1:]
        if reference:
            schema |= self.part(self._parts[reference], definitions)
        else:
            schema |= self._value(field, definitions)
        if nullable:
            schema["nullable"] = True
        return schema

    def _value(self, field: Schema, definitions: Mapping[str, Schema]) -> Schema:
        if isinstance(field.get("type"), list):
            return _number_or_text(field)
        schema: Schema = {key: field[key] for key in _TAKEN_OVER if key in field}
        if schema["type"] == "array":
            schema["items"] = self._field(field["items"], "", definitions)
            schema["x-kubernetes-list-type"] = "atomic"
        elif schema["type"] == "object":
            # The forms of keys cannot be said.
            values = [
                field.get("additionalProperties"),
                *field.get("patternProperties", {}).values(),
            ]
            value = next(value for value in values if isinstance(value, dict))
            schema["additionalProperties"] = self._field(value, "", definitions)
        elif schema["type"] == "integer":
            schema["format"] = "int64"
        return schema | _limits(field)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_null(field: Schema) -> tuple[bool, Schema]:
    """Whether null is among the alternatives, and the only other one."""
    if "anyOf" not in field:
        return False, field
    others = [alternative for alternative in field["anyOf"] if alternative.get("type") != "null"]
    if len(others) != 1 or len(field["anyOf"]) != 2:
        raise ValueError(f"a definition cannot hold alternatives: {field['anyOf']}")
    return True, {**field, **others[0]}


def _limits(field: Schema) -> Schema:
    """Bounds as OpenAPI 3.0 has them: numbers, and whether they are left out themselves."""
    found = {key: field[key] for key in _LIMITS if key in field}
    limits: Schema = {key: found[key] for key in ("minimum", "maximum") if key in found}
    for side, step in (("minimum", 1), ("maximum", -1)):
        exclusive = f"exclusive{side.capitalize()}"
        if exclusive not in found:
            continue
        if field["type"] == "integer":
            limits[side] = found[exclusive] + step
        else:
            limits[side] = found[exclusive]
            limits[exclusive] = True
    return limits


def _number_or_text(field: Schema) -> Schema:
    """An amount: a number, or a text with its digits.

    A definition can name one type only, and "int-or-string" takes no fractions. Bounds hold for
    numbers, patterns for texts; what is left is refused one by one.
    """
    if sorted(field["type"]) != ["number", "string"]:
        raise ValueError(f"a definition cannot hold alternatives: {field['type']}")
    return {
        "x-kubernetes-preserve-unknown-fields": True,
        **_limits(field),
        "pattern": field["pattern"],
        "maxProperties": 0,
        "maxItems": 0,
        "not": {"enum": [True, False, {}, []]},
    }


def _columns(kind: type[Resource]) -> list[Schema]:
    def ready(field: str) -> str:
        return f'.status.conditions[?(@.type=="Ready")].{field}'

    def column(shown: Column) -> Schema:
        printed = {"name": shown.title, "type": shown.type, "jsonPath": f".spec.{shown.field}"}
        return printed | ({"priority": 1} if shown.wide else {})

    accepted = '.status.conditions[?(@.type=="Accepted")].status'
    return [
        *map(column, kind.columns),
        {"name": "Accepted", "type": "string", "jsonPath": accepted},
        {"name": "Ready", "type": "string", "jsonPath": ready("status")},
        {"name": "Reason", "type": "string", "jsonPath": ready("reason")},
        {"name": "Message", "type": "string", "jsonPath": ready("message"), "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]


def definition(kind: type[Resource]) -> Schema:
    """The custom resource definition of `kind`."""
    name = kind.__name__
    group, _, version = API_VERSION.partition("/")
    spec = kind.model_fields["spec"]
    part = spec.annotation
    assert isinstance(part, type) and issubclass(part, Spec)
    schema: Schema = {
        "description": _summary(part),
        "type": "object",
        **({"required": ["spec"]} if spec.is_required() else {}),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _Structural().part(part, {}),
            "status": STATUS,
        },
    }
    labels = {"app.kubernetes.io/name": "infermesh", "app.kubernetes.io/part-of": "infermesh"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural(name)}.{group}", "labels": labels},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": plural(name),
                "singular": name.lower(),
                "shortNames": [short_name(name)],
                "categories": ["infermesh"],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(kind),
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes a value that stands in several places out in each of them."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def render() -> dict[str, str]:
    """The files by name."""
    shorts = [short_name(name) for name in KINDS]
    if len(set(shorts)) != len(shorts):
        raise ValueError(f"two kinds have the same short name: {shorts}")
    return {
        f"{plural(name)}.yaml": HEADER
        + yaml.dump(definition(kind), Dumper=_Dumper, sort_keys=False, width=100)
        for name, kind in KINDS.items()
    }


def drift(folder: Path) -> list[str]:
    """Names of files in `folder` that are missing, stale or too many."""
    expected = render()
    found = {path.name: path.read_text("utf-8") for path in folder.glob("*.yaml")}
    names = expected.keys() | found.keys()
    return sorted(name for name in names if expected.get(name) != found.get(name))


def generate(folder: Path) -> None:
    """Writes the files to `folder` and removes those of kinds that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = render()
    for stale in folder.glob("*.yaml"):
        if stale.name not in expected:
            stale.unlink()
    for name, text in expected.items():
        (folder / name).write_text(text, "utf-8")


def main(verb: str, folder: Path = FOLDER) -> int:
    """Exit code: 1 when `check` finds something, 2 for an unknown verb."""
    if verb == "generate":
        generate(folder)
        return 0
    if verb == "check":
        if stale := drift(folder):
            print(
                "Out of step with the kinds, run `python tools/crds.py generate`:",
                *stale,
                sep="\n  ",
                file=sys.stderr,
            )
        return 1 if stale else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
