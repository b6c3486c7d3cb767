"""Answers as they are offered to the cache and as they come out of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from infermesh_common.errors import InvalidArgument
from infermesh_common.usage import Usage

LONGEST_NAME_CHARS = 253
"""Longest name of a model or provider; that of a resource."""
LONGEST_TAG_CHARS = 128
"""Longest tag."""
MOST_TAGS = 32
"""Most tags of an entry: each is one more index to keep."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was given.

    Attributes:
        body: complete response body of the protocol it was asked in.
        model: name of the Model resource that answered.
        provider: name of the Provider resource that was called; may be empty.
        usage: tokens it cost when it was made; None when that is unknown.
        tags: labels an invalidation can name; each once.
    """

    body: bytes
    model: str
    provider: str
    usage: Usage | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored answer.

    Attributes:
        answer: what was stored.
        version: 1 at first, one more each time it was replaced.
        create_time_us: when it was stored, in microseconds since the epoch, by the store's clock.
        ttl_ms: how long it lives from then on; 0 when that is not known.
    """

    answer: Answer
    version: int
    create_time_us: int
    ttl_ms: int = 0


def check_name(value: str, field: str, *, required: bool = True) -> str:
    """`value`, when it can be the name of a model or provider.

    Raises:
        InvalidArgument: NAME_INVALID.
    """
    if (required and not value) or len(value) > LONGEST_NAME_CHARS or not _is_clean(value):
        raise InvalidArgument(
            "NAME_INVALID",
            f"{field} must have {int(required)} to {LONGEST_NAME_CHARS} printable characters.",
            field=field,
        )
    return value


def check_tag(tag: str, field: str) -> str:
    """`tag`, when an entry may carry it.

    Raises:
        InvalidArgument: TAG_INVALID.
    """
    if not 0 < len(tag) <= LONGEST_TAG_CHARS or not _is_clean(tag):
        raise InvalidArgument(
            "TAG_INVALID",
            f"A tag must have 1 to {LONGEST_TAG_CHARS} printable characters.",
            field=field,
        )
    return tag


def check_tags(tags: Iterable[str], field: str) -> tuple[str, ...]:
    """`tags` in order, each once; errors as `check_tag`.

    Raises:
        InvalidArgument: TAGS_TOO_MANY.
    """
    checked = tuple(dict.fromkeys(check_tag(tag, field) for tag in tags))
    if len(checked) > MOST_TAGS:
        raise InvalidArgument(
            "TAGS_TOO_MANY", f"An entry has at most {MOST_TAGS} tags.", field=field
        )
    return checked


def _is_clean(text: str) -> bool:
    return text == "" or text.isprintable()
