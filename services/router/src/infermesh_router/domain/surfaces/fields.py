"""Typed access to what a client sent: every refusal names the field."""

from collections.abc import Collection, Iterator
from typing import cast

from infermesh_common.errors import InvalidArgument
from infermesh_router.domain.request import JsonObject


def wrong(field: str, expected: str) -> InvalidArgument:
    """The refusal of a field that is not what it must be, for example "a string"."""
    return InvalidArgument("INVALID_FIELD", f"'{field}' must be {expected}.", field=field)


def unsupported(field: str, why: str) -> InvalidArgument:
    """The refusal of what would change the answer and cannot be translated.

    Args:
        field: path of the field.
        why: a sentence.
    """
    return InvalidArgument("UNSUPPORTED_PARAMETER", why, field=field)


class Fields:
    """An object in a request, and where it stands.

    Absent and null are the same: both are None. Every reader raises InvalidArgument
    (INVALID_FIELD) when the field has another type or range.

    Args:
        value: the object.
        path: of the object in the request; empty at its top.
    """

    __slots__ = ("value", "_path")

    def __init__(self, value: JsonObject, path: str = "") -> None:
        self.value = value
        self._path = path

    @classmethod
    def of(cls, value: object, path: str) -> "Fields":
        """`value`, which must be an object."""
        if not isinstance(value, dict):
            raise wrong(path, "an object")
        return cls(value, path)

    def path(self, name: str) -> str:
        """Where the field `name` stands."""
        return f"{self._path}.{name}" if self._path else name

    @property
    def where(self) -> str:
        """Where the object itself stands."""
        return self._path

    def has(self, name: str) -> bool:
        """Whether there is such a field, and it is not null."""
        return self.value.get(name) is not None

    def need(self, name: str) -> object:
        """The value of a field that must be there."""
        value = self.value.get(name)
        if value is None:
            raise InvalidArgument(
                "INVALID_FIELD", f"'{self.path(name)}' is missing.", field=self.path(name)
            )
        return value

    def text(self, name: str) -> str | None:
        """A string."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, str):
            raise wrong(self.path(name), "a string")
        return value

    def need_text(self, name: str) -> str:
        """A string that must be there; it may be empty."""
        self.need(name)
        return cast(str, self.text(name))

    def need_name(self, name: str) -> str:
        """A string that must be there and not be empty."""
        value = self.need_text(name)
        if not value:
            raise wrong(self.path(name), "a non-empty string")
        return value

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """One of several words."""
        value = self.text(name)
        if value is not None and value not in choices:
            raise wrong(self.path(name), "one of " + ", ".join(sorted(choices)))
        return value

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, bool):
            raise wrong(self.path(name), "true or false")
        return value

    def count(self, name: str, least: int = 0) -> int | None:
        """A whole number, at least `least`."""
        value = self.value.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise wrong(self.path(name), f"a whole number of at least {least}")
        return value

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number from `least` to `most`."""
        value = self.value.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong(self.path(name), "a number")
        if not least <= value <= most:
            raise wrong(self.path(name), f"between {least:g} and {most:g}")
        return value

    def inner(self, name: str) -> "Fields | None":
        """An object."""
        value = self.value.get(name)
        return None if value is None else Fields.of(value, self.path(name))

    def need_inner(self, name: str) -> "Fields":
        """An object that must be there."""
        return Fields.of(self.need(name), self.path(name))

    def items(self, name: str) -> list[object] | None:
        """A list."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, list):
            raise wrong(self.path(name), "a list")
        return value

    def objects(self, name: str) -> Iterator["Fields"]:
        """The objects of a list; none when there is no list."""
        for number, item in enumerate(self.items(name) or ()):
            yield Fields.of(item, f"{self.path(name)}[{number}]")

    def texts(self, name: str) -> list[str] | None:
        """A list of strings."""
        values = self.items(name)
        for number, item in enumerate(values or ()):
            if not isinstance(item, str):
                raise wrong(f"{self.path(name)}[{number}]", "a string")
        return cast("list[str] | None", values)

    def refuse(self, names: Collection[str], why: str) -> None:
        """Refuses fields that are not translated; null, false and empty ones ask for nothing.

        Raises:
            InvalidArgument: UNSUPPORTED_PARAMETER.
        """
        for name in names:
            if self.value.get(name) not in (None, False, "", [], {}):
                raise unsupported(self.path(name), f"'{self.path(name)}' {why}.")

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Refuses fields that the protocol does not have, as its own servers do.

        Raises:
            InvalidArgument: UNKNOWN_PARAMETER.
        """
        for name in self.value:
            if name not in known:
                raise InvalidArgument(
                    "UNKNOWN_PARAMETER",
                    f"There is no parameter {self.path(name)!r}.",
                    field=self.path(name),
                )
