"""Objects of Kubernetes as JSON has them, and ways to look into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

Document = Mapping[str, object]


def dig(document: object, *path: str) -> object:
    """What is there under these keys; None where there is nothing."""
    for key in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


def text(document: object, *path: str) -> str:
    """The text there; empty where there is none."""
    value = dig(document, *path)
    return value if isinstance(value, str) else ""


def number(document: object, *path: str) -> int:
    """The number there; 0 where there is none."""
    value = dig(document, *path)
    return value if isinstance(value, int) else 0


def each(document: object, *path: str) -> list[Document]:
    """The objects of the list there; none where there is no list."""
    value = dig(document, *path)
    return [cast(Document, item) for item in value] if isinstance(value, list) else []


def name(document: Document) -> str:
    """Its name."""
    return text(document, "metadata", "name")
