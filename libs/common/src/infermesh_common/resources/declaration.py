"""What a kind declares of itself besides its fields; custom resource definitions tell it too."""

import re
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel
from pydantic.alias_generators import to_camel


class Rule(Protocol):
    """What holds between fields of a part of a resource; checked here and by the API server."""

    @property
    def message(self) -> str:
        """What to do, for people."""

    @property
    def cel(self) -> str:
        """The rule in the Common Expression Language, with the part as `self`."""

    def holds(self, part: BaseModel) -> bool:
        """Whether `part` keeps the rule."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Of some fields exactly one is given: or, unless required, none.

    Attributes:
        fields: names in Python.
        lists: further ones, which hold lists; an empty list says as little as none.
        required: none is not allowed.
    """

    fields: tuple[str, ...]
    lists: tuple[str, ...] = ()
    required: bool = False

    @property
    def message(self) -> str:
        """See `Rule`."""
        *first, last = (to_camel(field) for field in (*self.fields, *self.lists))
        named = f"{', '.join(first)} or {last}"
        if self.required:
            return f"give exactly one of {named}"
        return f"give either {named}, not both" if len(first) == 1 else f"give one of {named}"

    @property
    def cel(self) -> str:
        """See `Rule`."""
        given = [f"has(self.{to_camel(field)})" for field in self.fields]
        for name in map(to_camel, self.lists):
            given.append(f"has(self.{name}) && size(self.{name}) > 0")
        relation = "==" if self.required else "<="
        return f"[{', '.join(given)}].filter(given, given).size() {relation} 1"

    def holds(self, part: BaseModel) -> bool:
        """See `Rule`."""
        given = sum(getattr(part, field) is not None for field in self.fields)
        given += sum(bool(getattr(part, field)) for field in self.lists)
        return given == 1 or (given == 0 and not self.required)


@dataclass(frozen=True, slots=True)
class Needed:
    """A field that may be left out, except where another one has a certain value.

    Attributes:
        field: that is needed.
        where: the other field.
        value: of it.
        text: the field is a text, and an empty one is none.
    """

    field: str
    where: str
    value: str
    text: bool = True

    @property
    def message(self) -> str:
        """See `Rule`."""
        return f"{self.value} needs {'a ' if self.text else ''}{to_camel(self.field)}"

    @property
    def cel(self) -> str:
        """See `Rule`."""
        where, field = to_camel(self.where), to_camel(self.field)
        unlike = f"!has(self.{where}) || self.{where} != '{self.value}'"
        given = f"(has(self.{field}) && self.{field} != '')" if self.text else f"has(self.{field})"
        return f"{unlike} || {given}"

    def holds(self, part: BaseModel) -> bool:
        """See `Rule`."""
        given = getattr(part, self.field)
        return getattr(part, self.where) != self.value or (
            bool(given) if self.text else given is not None
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A column that `kubectl get` prints.

    Attributes:
        title: its head.
        field: of the spec, as a path in camelCase: "tenant", "pricing.catalog.model".
        type: "string", "integer", "number" or "boolean".
        wide: printed with `-o wide` only.
    """

    title: str
    field: str
    type: str = "string"
    wide: bool = False


def plural(kind: str) -> str:
    """The name of a kind in URLs: "Provider" is "providers", "RoutePolicy" "routepolicies"."""
    lower = kind.lower()
    return f"{lower[:-1]}ies" if lower.endswith("y") and lower[-2] not in "aeiou" else f"{lower}s"


def short_name(kind: str) -> str:
    """What people type: "Provider" is "imp", "RoutePolicy" "imrp"."""
    return "im" + "".join(re.findall("[A-Z]", kind)).lower()
