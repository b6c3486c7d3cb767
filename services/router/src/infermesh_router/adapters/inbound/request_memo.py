"""Requests that were read before: identical bytes are read once."""

from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

from infermesh_router.domain.request import InferenceRequest, JsonObject

# Parsed, a body takes several times its bytes.
_PARSED_TO_RAW = 6
_OVERHEAD_BYTES = 2_000
_LARGEST_BODY_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A body and what it asks for. Nobody changes either."""

    body: JsonObject
    inference: InferenceRequest


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Everything a request is read from.

    Attributes:
        wire: protocol of the body.
        tenant: whose request it is; requests are never shared between tenants.
        data: the body.
        headers: those that say how it is to be served.
    """

    wire: str
    tenant: str
    data: bytes
    headers: tuple[str, ...]


class RequestMemo:
    """What was read, the least recently used going first.

    Args:
        max_bytes: bound of it all, roughly.
    """

    def __init__(self, max_bytes: int) -> None:
        self._known: LRUCache[RequestKey, tuple[ReadRequest, int]] = LRUCache(
            max_bytes, getsizeof=_size
        )

    def read(self, key: RequestKey, reader: Callable[[], ReadRequest]) -> ReadRequest:
        """What `key` was read as; asks `reader` at the first time. Its errors are not kept."""
        known = self._known.get(key)
        if known is not None:
            return known[0]
        fresh = reader()
        size = len(key.data) * _PARSED_TO_RAW + _OVERHEAD_BYTES
        if len(key.data) <= _LARGEST_BODY_BYTES and size <= self._known.maxsize:
            self._known[key] = (fresh, size)
        return fresh


def _size(known: tuple[ReadRequest, int]) -> int:
    return known[1]
