"""Keys: every triple its own, every one its tenant's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_cache.domain.keys import Slot, check_tenant, tenant_prefix
from infermesh_common.errors import FailedPrecondition, InvalidArgument

tenants = st.from_regex(re.compile(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", re.A), fullmatch=True)
fingerprints = st.binary(min_size=32, max_size=32)
slots = st.builds(Slot, tenants, st.integers(0, 2**40), fingerprints)


@given(slots, slots)
def test_two_triples_never_share_a_key(one: Slot, other: Slot) -> None:
    mine, others = {one.entry_key, one.lease_key}, {other.entry_key, other.lease_key}
    assert len(mine) == 2
    assert (mine == others) if one == other else mine.isdisjoint(others)


@given(slots, tenants)
def test_a_key_is_of_its_tenant_and_of_no_other(slot: Slot, tenant: str) -> None:
    for key in (slot.entry_key, slot.lease_key):
        assert key.startswith(f"{slot.tenant}:cache:")
        assert key.startswith(tenant_prefix(tenant)) == (tenant == slot.tenant)


@given(st.text())
def test_a_name_that_could_collide_is_refused(name: str) -> None:
    try:
        assert ":" not in check_tenant(name)
    except (FailedPrecondition, InvalidArgument) as refusal:
        assert refusal.reason in {"TENANT_REQUIRED", "TENANT_INVALID"}


@pytest.mark.parametrize(
    "name", ["acme:cache", "acme:", ":", "Acme", "-acme", "acme.", "acme\n", "ä", "a" * 254, "-"]
)
def test_what_is_not_a_resource_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        Slot(name, 0, b"f" * 32)
