"""Which entries of a tenant an invalidation is about."""

from dataclasses import dataclass
from enum import Enum


class Scope(Enum):
    """By what many entries are selected at once."""

    ALL = "all"
    MODEL = "model"
    TAG = "tag"


@dataclass(frozen=True, slots=True)
class Selection:
    """Many entries.

    Attributes:
        scope: by what they are selected.
        value: the model or tag; empty for all.
    """

    scope: Scope
    value: str = ""


@dataclass(frozen=True, slots=True)
class One:
    """The entry of one request of the current epoch.

    Attributes:
        fingerprint: of the request, 32 bytes.
    """

    fingerprint: bytes


Selector = Selection | One
