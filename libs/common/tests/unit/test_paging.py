"""Pages put together are the list, each item once, whatever comes and goes meanwhile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh.common.v1 import page_pb2
from infermesh_common.errors import InvalidArgument
from infermesh_common.paging import (
    DEFAULT_PAGE_SIZE,
    LARGEST_PAGE_SIZE,
    decode_token,
    encode_token,
    page_of,
    page_size,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


def itself(item: str) -> str:
    return item


@given(items=st.sets(TEXT.filter(bool), max_size=40), size=st.integers(1, 7))
def test_pages_put_together_are_the_list(items: set[str], size: int) -> None:
    listed = sorted(items)
    seen: list[str] = []
    request = page_pb2.PageRequest(page_size=size)
    while True:
        page, token = page_of(listed, request, key=itself)
        assert len(page) <= size
        seen.extend(page)
        if not token:
            break
        request.page_token = token
    assert seen == listed


def test_what_goes_between_two_pages_shifts_nothing() -> None:
    page, token = page_of(["a", "b", "c", "d"], page_pb2.PageRequest(page_size=2), key=itself)
    assert page == ["a", "b"]
    rest = page_pb2.PageRequest(page_size=2, page_token=token)
    assert page_of(["b", "c", "d"], rest, key=itself) == (["c", "d"], "")
    assert page_of(["a", "bb", "c"], rest, key=itself) == (["bb", "c"], "")


@given(position=TEXT)
def test_a_token_gives_its_position_back(position: str) -> None:
    token = encode_token(position)
    assert decode_token(token) == position
    assert "=" not in token


@pytest.mark.parametrize("token", ["é", "a", "!!!!", "_w", "ab cd"])
def test_a_token_we_did_not_make_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        page_of(["a"], page_pb2.PageRequest(page_token=token), key=itself)
    assert (caught.value.reason, caught.value.field) == ("INVALID_PAGE_TOKEN", "page.page_token")


def test_sizes_are_bounded() -> None:
    assert page_size(page_pb2.PageRequest()) == DEFAULT_PAGE_SIZE
    assert page_size(page_pb2.PageRequest(page_size=7)) == 7
    assert page_size(page_pb2.PageRequest(page_size=10**6)) == LARGEST_PAGE_SIZE
    with pytest.raises(InvalidArgument) as caught:
        page_size(page_pb2.PageRequest(page_size=-1))
    assert caught.value.reason == "INVALID_PAGE_SIZE"
