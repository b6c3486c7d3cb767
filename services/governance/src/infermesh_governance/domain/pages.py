"""Pagination by position: a page token names the last item given, not a number of items, so items
that come and go between two pages make none appear twice or not at all (AIP-158)."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import nsmallest
from typing import Generic, TypeVar

import orjson

from infermesh_common.errors import InvalidArgument

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000

T = TypeVar("T")
Position = tuple[int, str]
"""Where an item stands in its list; unique in it."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page of a list is wanted.

    Attributes:
        size: most items; 0 means 100, values above 1000 are cut to 1000.
        token: `next_token` of the page before; empty for the first one.
    """

    size: int = 0
    token: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list.

    Attributes:
        items: in order.
        next_token: empty on the last page.
    """

    items: tuple[T, ...]
    next_token: str


def page_of(
    items: Iterable[T],
    request: PageRequest,
    *,
    scope: str,
    position: Callable[[T], Position],
) -> Page[T]:
    """The page asked for.

    Args:
        items: the whole list, in any order.
        request: which page.
        scope: what is listed; a token of one scope is refused in another.
        position: the order of the list.

    Raises:
        InvalidArgument: the size is negative, or the token is not one of this list.
    """
    if request.size < 0:
        raise InvalidArgument(
            "PAGE_SIZE_INVALID", "page_size must not be negative.", field="page.page_size"
        )
    size = min(request.size or DEFAULT_SIZE, LARGEST_SIZE)
    if request.token:
        after = _position(request.token, scope)
        items = (item for item in items if position(item) > after)
    found = nsmallest(size + 1, items, key=position)
    token = _token(scope, position(found[size - 1])) if len(found) > size else ""
    return Page(tuple(found[:size]), token)


def _token(scope: str, position: Position) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([scope, *position])).decode()


def _position(token: str, scope: str) -> Position:
    try:
        parts = orjson.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except ValueError as error:
        raise _bad_token() from error
    match parts:
        case [str(held), int(number), str(name)] if held == scope:
            return number, name
        case _:
            raise _bad_token()


def _bad_token() -> InvalidArgument:
    return InvalidArgument(
        "PAGE_TOKEN_INVALID",
        "page_token must be the next_page_token of the same list.",
        field="page.page_token",
    )
