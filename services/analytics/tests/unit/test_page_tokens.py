"""Page tokens are opaque, bound to their query, and of no use when changed."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_analytics.domain.paging import PageTokens
from infermesh_common.errors import InvalidArgument

TOKENS = PageTokens("secret")


@given(st.text(), st.lists(st.text(max_size=20), max_size=5))
def test_a_token_comes_back_as_the_position_it_was_made_of(query: str, position: list[str]) -> None:
    assert PageTokens("secret").read(query, TOKENS.issue(query, position)) == position


@given(st.data())
def test_a_token_changed_anywhere_is_refused(data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(TOKENS.issue("query", ["7", "small"])))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidArgument):
        TOKENS.read("query", base64.urlsafe_b64encode(raw).decode())


@given(st.text())
def test_any_other_text_is_refused_as_an_invalid_argument(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        TOKENS.read("query", text)
    assert caught.value.reason == "INVALID_PAGE_TOKEN"


def test_a_token_of_another_query_or_another_mesh_is_refused() -> None:
    token = TOKENS.issue("query", ["1"])
    for tokens, query in ((TOKENS, "query2"), (PageTokens("other"), "query")):
        with pytest.raises(InvalidArgument):
            tokens.read(query, token)
