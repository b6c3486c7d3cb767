"""Lists that come in pages (AIP-158), walked without the caller seeing the pages."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from infermesh.errors import InternalError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page.

    Args:
        items: what is on it.
        next_token: where the list goes on; empty on the last page.
    """

    items: tuple[T, ...]
    next_token: str


class Pager(Generic[T]):
    """A list on the server. Iterating it asks for page after page; each iteration starts anew.

    Args:
        fetch: asks for the page of a token, "" for the first one.
    """

    def __init__(self, fetch: Callable[[str], Page[T]]) -> None:
        self._fetch = fetch

    def pages(self) -> Iterator[tuple[T, ...]]:
        """Page by page; one call each, with a deadline of its own."""
        token = ""
        while True:
            page = self._fetch(token)
            yield page.items
            token = _next(token, page.next_token)
            if not token:
                return

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page


class AsyncPager(Generic[T]):
    """`Pager` for asyncio.

    Args:
        fetch: asks for the page of a token, "" for the first one.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[Page[T]]]) -> None:
        self._fetch = fetch

    async def pages(self) -> AsyncIterator[tuple[T, ...]]:
        """Page by page; one call each, with a deadline of its own."""
        token = ""
        while True:
            page = await self._fetch(token)
            yield page.items
            token = _next(token, page.next_token)
            if not token:
                return

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page:
                yield item


def _next(token: str, following: str) -> str:
    """The next token. A server that repeats itself would be asked for ever."""
    if following and following == token:
        raise InternalError("The list does not go on after a page.", reason="PAGE_TOKEN_REPEATED")
    return following
