"""Pages of lists that are held in memory and sorted by a unique key (AIP-158)."""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeVar

from infermesh.common.v1 import page_pb2
from infermesh_common.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 100
LARGEST_PAGE_SIZE = 1000

T = TypeVar("T")


def page_size(request: page_pb2.PageRequest) -> int:
    """Items wanted: 100 when nothing is said, never more than 1000.

    Raises:
        InvalidArgument: INVALID_PAGE_SIZE, it is negative.
    """
    if request.page_size < 0:
        raise InvalidArgument(
            "INVALID_PAGE_SIZE", "page_size must not be negative.", field="page.page_size"
        )
    return min(request.page_size or DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE)


def encode_token(position: str) -> str:
    """An opaque page token for a position."""
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_token(token: str) -> str:
    """The position in a page token.

    Raises:
        InvalidArgument: INVALID_PAGE_TOKEN, we did not make it.
    """
    try:
        padded = token + "=" * (-len(token) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(
            "INVALID_PAGE_TOKEN", "page_token is not one of ours.", field="page.page_token"
        ) from error


def page_of(
    items: Sequence[T], request: page_pb2.PageRequest, *, key: Callable[[T], str]
) -> tuple[Sequence[T], str]:
    """One page of `items`, and the token of the next page, empty on the last.

    Args:
        items: sorted by `key`, which is unique.
        request: which page.
        key: position of an item. Items that come and go between pages do not shift the others.

    Raises:
        InvalidArgument: a size or token that cannot be used.
    """
    size = page_size(request)
    start = 0
    if request.page_token:
        start = bisect_right(items, decode_token(request.page_token), key=key)
    page = items[start : start + size]
    more = start + size < len(items)
    return page, encode_token(key(page[-1])) if more else ""
