"""Typed reading of the JSON that the API server sends."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from infermesh.inference import JsonValue

JsonObject: TypeAlias = Mapping[str, JsonValue]


class Fields:
    """A JSON value in which anything may be absent: what is not there is empty.

    Paths are names with dots between them, as in "status.phase"; for names with dots in them
    (labels) use `texts`.
    """

    def __init__(self, value: JsonValue) -> None:
        self._value = value

    def at(self, path: str) -> "Fields":
        """What stands at the path."""
        value = self._value
        for name in path.split(".") if path else ():
            value = value.get(name) if isinstance(value, Mapping) else None
        return Fields(value)

    @property
    def value(self) -> JsonValue:
        """The JSON itself."""
        return self._value

    @property
    def known(self) -> bool:
        """Whether it is there at all."""
        return self._value is not None

    def text(self, path: str = "") -> str:
        """A string; empty when there is none."""
        value = self.at(path)._value
        return value if isinstance(value, str) else ""

    def number(self, path: str = "", default: int = 0) -> int:
        """An integer."""
        value = self.at(path)._value
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def flag(self, path: str = "", default: bool = False) -> bool:
        """A truth value."""
        value = self.at(path)._value
        return value if isinstance(value, bool) else default

    def items(self, path: str = "") -> tuple["Fields", ...]:
        """The elements of a list."""
        value = self.at(path)._value
        if isinstance(value, str) or not isinstance(value, Sequence):
            return ()
        return tuple(Fields(each) for each in value)

    def members(self, path: str = "") -> dict[str, "Fields"]:
        """The members of an object by name."""
        value = self.at(path)._value
        if not isinstance(value, Mapping):
            return {}
        return {name: Fields(inner) for name, inner in value.items()}

    def texts(self, path: str = "") -> dict[str, str]:
        """The members of an object that are strings: labels, annotations."""
        return {n: inner.text() for n, inner in self.members(path).items() if inner.text()}

    def moment(self, path: str = "") -> datetime | None:
        """A time, with its zone; None when there is none."""
        text = self.text(path)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        # All times of the API server have a zone; one without could not be compared.
        return moment if moment.tzinfo is not None else None


class KubeObject(Fields):
    """An object of the cluster.

    Args:
        kind: of it; lists do not repeat it in their items.
        value: its JSON.
    """

    def __init__(self, kind: str, value: JsonObject) -> None:
        super().__init__(value)
        self.kind = kind

    @property
    def name(self) -> str:
        """Its name."""
        return self.text("metadata.name")

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.texts("metadata.labels")

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations."""
        return self.texts("metadata.annotations")

    def condition(self, name: str) -> Fields:
        """The condition of that type in its status."""
        found = (c for c in self.items("status.conditions") if c.text("type") == name)
        return next(found, Fields(None))
