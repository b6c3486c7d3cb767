"""Lists are walked to their end, and never for ever."""

import pytest

from infermesh import InternalError
from infermesh.paging import AsyncPager, Page, Pager

PAGES = {"": Page((1, 2), "a"), "a": Page((), "b"), "b": Page((3,), "")}


def test_a_list_is_walked_over_empty_pages_to_its_end() -> None:
    pager = Pager(PAGES.__getitem__)
    assert list(pager.pages()) == [(1, 2), (), (3,)]
    assert list(pager) == list(pager) == [1, 2, 3]


def test_no_page_is_asked_for_before_it_is_needed() -> None:
    asked: list[str] = []

    def fetch(token: str) -> Page[int]:
        asked.append(token)
        return PAGES[token]

    assert next(iter(Pager(fetch))) == 1
    assert asked == [""]


async def test_asyncios_pager_walks_the_same() -> None:
    async def fetch(token: str) -> Page[int]:
        return PAGES[token]

    pager = AsyncPager(fetch)
    assert [page async for page in pager.pages()] == [(1, 2), (), (3,)]
    assert [item async for item in pager] == [1, 2, 3]


async def test_a_server_that_repeats_a_token_is_not_asked_for_ever() -> None:
    async def fetch(token: str) -> Page[int]:
        return Page((1,), "same")

    with pytest.raises(InternalError) as failed:
        list(Pager(lambda token: Page((1,), "same")))
    assert failed.value.reason == "PAGE_TOKEN_REPEATED"
    with pytest.raises(InternalError):
        [item async for item in AsyncPager(fetch)]
