"""Pagination."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_common.errors import InvalidArgument
from infermesh_governance.domain.pages import Page, PageRequest, Position, page_of

_positions = st.tuples(st.integers(0, 5), st.text("ab", max_size=4))


def _page(items: set[Position], request: PageRequest, scope: str = "s") -> Page[Position]:
    return page_of(items, request, scope=scope, position=lambda item: item)


def _all_pages(items: set[Position], size: int) -> list[Position]:
    seen: list[Position] = []
    token = ""
    while True:
        page = _page(items, PageRequest(size, token))
        assert len(page.items) <= size
        seen.extend(page.items)
        token = page.next_token
        if not token:
            return seen


@given(st.sets(_positions, max_size=30), st.integers(1, 10))
def test_paging_shows_each_item_once_and_in_order(items: set[Position], size: int) -> None:
    assert _all_pages(items, size) == sorted(items)


@given(st.sets(_positions, min_size=2, max_size=20), st.data())
def test_items_that_come_and_go_make_no_other_appear_twice_or_not_at_all(
    items: set[Position], data: st.DataObject
) -> None:
    first = _page(items, PageRequest(data.draw(st.integers(1, len(items) - 1))))
    gone = data.draw(st.sets(st.sampled_from(sorted(items))))
    new = data.draw(st.sets(_positions)) - items

    rest = _page((items - gone) | new, PageRequest(1000, first.next_token))

    stayed = items - gone
    assert set(rest.items) & stayed == stayed - set(first.items)
    assert not set(rest.items) & set(first.items)


@given(st.text(min_size=1))
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        _page({(1, "a")}, PageRequest(1, token))

    assert refused.value.reason == "PAGE_TOKEN_INVALID"
    assert refused.value.field == "page.page_token"


def test_a_token_of_another_list_is_refused() -> None:
    token = _page({(1, "a"), (2, "b")}, PageRequest(1), scope="keys=acme").next_token

    with pytest.raises(InvalidArgument):
        _page({(1, "a"), (2, "b")}, PageRequest(1, token), scope="keys=globex")


@pytest.mark.parametrize(("asked", "got"), [(0, 100), (7, 7), (1000, 1000), (5000, 1000)])
def test_the_size_has_a_default_and_a_bound(asked: int, got: int) -> None:
    assert len(_page({(n, "") for n in range(1500)}, PageRequest(asked)).items) == got


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        _page(set(), PageRequest(-1))

    assert refused.value.reason == "PAGE_SIZE_INVALID"
