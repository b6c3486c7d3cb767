"""Server-sent events in whatever pieces they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_router.domain.sse import EventDecoder, EventTooLarge

payload = st.binary(max_size=30).filter(lambda b: b"\n" not in b and b"\r" not in b)


@given(
    st.lists(payload, max_size=8),
    st.lists(st.integers(min_value=0, max_value=400), max_size=10),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_the_cut_of_the_pieces_does_not_matter(payloads, cuts, newline):
    wire = b"".join(b": note" + newline + b"data: " + p + newline * 2 for p in payloads)
    bounds = sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})
    decoder = EventDecoder(10_000)
    seen = [d for a, b in zip(bounds, bounds[1:]) for d in decoder.feed(wire[a:b])]
    assert seen == payloads


def test_lines_of_one_event_are_joined():
    assert list(EventDecoder(100).feed(b"event: x\ndata:a\ndata: b\nid: 1\n\n\n")) == [b"a\nb"]


@pytest.mark.parametrize("wire", [b"data: " + b"x" * 200, b"data: xxxxxxxx\n" * 20])
def test_an_endless_event_is_refused(wire):
    with pytest.raises(EventTooLarge):
        list(EventDecoder(100).feed(wire))
