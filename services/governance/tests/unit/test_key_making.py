"""How keys are made and what state they are in."""

import string

from hypothesis import given
from hypothesis import strategies as st

from infermesh_common.identity.model import Role, parse_key_id
from infermesh_governance.domain.keys import KeyRecord, KeyState, is_forgettable, new_api_key

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_TIMES = st.none() | st.integers(0, 1_000)


def _record(expires_us: int | None = None, revoked_us: int | None = None) -> KeyRecord:
    return KeyRecord(
        "0" * 16, b"", "acme", Role.MEMBER, expires_us=expires_us, revoked_us=revoked_us
    )


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**256 - 1))
def test_every_bit_of_the_random_source_is_in_the_key(id_bits: int, secret_bits: int) -> None:
    key_id, api_key = new_api_key(lambda bits: {64: id_bits, 256: secret_bits}[bits])

    assert parse_key_id(api_key) == key_id
    assert int(key_id, 16) == id_bits
    secret = api_key.split("_")[2]
    assert sum(_DIGITS.index(c) * 62**place for place, c in enumerate(secret)) == secret_bits


def test_two_keys_have_nothing_in_common() -> None:
    keys = [new_api_key() for _ in range(100)]

    assert len({key_id for key_id, _ in keys}) == 100
    assert len({api_key.split("_")[2] for _, api_key in keys}) == 100


@given(_TIMES, _TIMES, st.integers(0, 1_000))
def test_a_key_is_active_until_it_expires_or_is_revoked(
    expires_us: int | None, revoked_us: int | None, now_us: int
) -> None:
    state = _record(expires_us, revoked_us).state(now_us)

    assert (state is KeyState.REVOKED) == (revoked_us is not None)
    assert (state is KeyState.ACTIVE) == (
        revoked_us is None and (expires_us is None or now_us < expires_us)
    )


@given(_TIMES, _TIMES, st.integers(0, 1_000), st.integers(1, 1_000))
def test_only_a_key_dead_for_long_enough_is_forgotten(
    expires_us: int | None, revoked_us: int | None, now_us: int, forget_after_us: int
) -> None:
    record = _record(expires_us, revoked_us)

    if is_forgettable(record, now_us=now_us, forget_after_us=forget_after_us):
        assert record.state(now_us) is not KeyState.ACTIVE
        ends = [end for end in (expires_us, revoked_us) if end is not None]
        assert now_us - min(ends) >= forget_after_us
