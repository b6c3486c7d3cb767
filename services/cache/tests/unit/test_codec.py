"""Stored form: comes back as it was, or is refused."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infermesh_cache.adapters.outbound.codec import STAMP, CorruptEntry, EntryCodec
from infermesh_cache.domain.entry import Answer, Entry
from infermesh_cache.domain.keys import Slot
from infermesh_common.usage import Usage

SLOT = Slot("acme", 0, b"f" * 32)
TTL_MS = 60_001
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
words = st.text(st.characters(codec="utf-8"), max_size=30)
counts = st.integers(0, 2**62)
bodies = st.binary(min_size=1, max_size=3000) | st.builds(
    lambda part, times: part * times, st.binary(min_size=1, max_size=20), st.integers(1, 500)
)
answers = st.builds(
    Answer,
    body=bodies,
    model=words,
    provider=words,
    usage=st.none() | st.builds(Usage, *[counts] * 7),
    tags=st.lists(words, max_size=5).map(tuple),
)


@pytest.fixture
def codec() -> Iterator[EntryCodec]:
    codec = EntryCodec(compress_above_bytes=100, offload_above_bytes=1000, threads=2)
    yield codec
    codec.close()


def stamped(encoded: bytes, version: int = 1, create_time_us: int = 1) -> bytes:
    return STAMP.pack(version, create_time_us) + encoded


@SHARED
@given(answer=answers, version=st.integers(1, 2**53 - 1), time_us=st.integers(0, 2**51))
async def test_an_answer_comes_back_as_it_was(
    codec: EntryCodec, answer: Answer, version: int, time_us: int
) -> None:
    encoded = await codec.encode(SLOT, answer, TTL_MS)
    entry = await codec.decode(SLOT, stamped(encoded, version, time_us))
    assert entry == Entry(answer, version, time_us, TTL_MS)


@SHARED
@given(answer=answers, data=st.data())
def test_what_was_changed_is_refused(
    codec: EntryCodec, answer: Answer, data: st.DataObject
) -> None:
    encoded = bytearray(codec.encode_now(SLOT, answer, TTL_MS))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptEntry):
        codec.decode_now(SLOT, stamped(bytes(encoded)))


@SHARED
@given(answer=answers, data=st.data())
def test_what_was_cut_short_is_refused(
    codec: EntryCodec, answer: Answer, data: st.DataObject
) -> None:
    value = stamped(codec.encode_now(SLOT, answer, TTL_MS))
    with pytest.raises(CorruptEntry):
        codec.decode_now(SLOT, value[: data.draw(st.integers(0, len(value) - 1))])


@SHARED
@given(value=st.binary(max_size=200))
def test_garbage_is_refused(codec: EntryCodec, value: bytes) -> None:
    with pytest.raises(CorruptEntry):
        codec.decode_now(SLOT, value)


@pytest.mark.parametrize(
    "other",
    [Slot("globex", 0, b"f" * 32), Slot("acme", 1, b"f" * 32), Slot("acme", 0, b"g" * 32)],
)
def test_what_belongs_elsewhere_is_refused(codec: EntryCodec, other: Slot) -> None:
    answer = Answer(b"42", "small", "main", None, ())
    with pytest.raises(CorruptEntry):
        codec.decode_now(other, stamped(codec.encode_now(SLOT, answer, TTL_MS)))


@pytest.mark.parametrize(("version", "time_us"), [(0, 1), (2**53, 1), (1, 2**63)])
def test_a_stamp_that_cannot_be_true_is_refused(
    codec: EntryCodec, version: int, time_us: int
) -> None:
    answer = Answer(b"42", "small", "main", None, ())
    with pytest.raises(CorruptEntry):
        codec.decode_now(SLOT, stamped(codec.encode_now(SLOT, answer, TTL_MS), version, time_us))


@pytest.mark.parametrize(("body", "smaller"), [(b"a" * 100, False), (b"a" * 101, True)])
def test_only_what_is_large_enough_is_compressed(
    codec: EntryCodec, body: bytes, smaller: bool
) -> None:
    encoded = codec.encode_now(SLOT, Answer(body, "m", "p", None, ()), TTL_MS)
    assert (body not in encoded) == smaller
