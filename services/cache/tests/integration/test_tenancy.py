"""Tenants share nothing: no key, no entry, no flight."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infermesh_cache.adapters.outbound.codec import EntryCodec
from infermesh_cache.adapters.outbound.redis_entries import RedisEntryStore
from infermesh_cache.domain.entry import Answer
from infermesh_cache.domain.keys import Slot, tenant_prefix
from infermesh_cache.domain.outcomes import Hit, Lease
from infermesh_common.testing.servers import RedisServer

if TYPE_CHECKING:
    from services.cache.tests.conftest import Mesh, Replica

# Names made to collide: one the beginning of the other, and what stands in keys.
TENANTS = ("acme", "acme.cache", "acme-cache", "cache", "acme.cache.entry.0", "a", "aa", "0")
Triple = tuple[str, int, bytes]
triples = st.tuples(
    st.sampled_from(TENANTS),
    st.sampled_from((0, 1, 10, 11)),
    st.binary(min_size=32, max_size=32) | st.sampled_from((b"0" * 32, b"\x00" * 32)),
)


async def test_tenants_never_see_each_others_entries(mesh: Mesh, redis_server: RedisServer) -> None:
    for tenant in TENANTS:
        mesh.declare(tenant)
    replica = await mesh.start(redis_server)
    callers = {tenant: replica.caller(tenant) for tenant in TENANTS}
    for tenant, caller in callers.items():
        # Nobody before stored or leads for this tenant.
        token = await caller.lead("q")
        assert (await caller.store("q", tenant.encode(), token=token)).version == 1
        assert (await caller.stats()).entries == 1
    for tenant, caller in callers.items():
        assert await caller.body_of("q") == tenant.encode()
    for n, (tenant, caller) in enumerate(callers.items(), 1):
        assert await caller.invalidate() == 1
        seen = [await other.body_of("q") for other in callers.values()]
        assert seen == [None] * n + [t.encode() for t in TENANTS[n:]]


async def test_one_tenants_lease_is_worth_nothing_for_another(replica: Replica) -> None:
    acme, globex = replica.caller("acme"), replica.caller("globex")
    token = await acme.lead("q")
    assert not await globex.renew("q", token)
    await globex.release("q", token)
    assert (await globex.store("q", token=token)).reason == "LEASE_LOST"
    assert (await acme.store("q", token=token)).stored


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(stored=st.sets(triples, min_size=2, max_size=8))
async def test_no_key_of_a_slot_is_shared_with_another(
    redis_server: RedisServer, entries: RedisEntryStore, codec: EntryCodec, stored: set[Triple]
) -> None:
    slots = [Slot(*triple) for triple in sorted(stored)]
    with redis_server.client() as client:
        client.flushall()
        for slot in slots:
            answer = Answer(secrets.token_bytes(16), slot.member, "", None, ())
            lease = Lease(secrets.token_hex(8), 60_000)
            # Neither an entry nor a lease of another slot is in the way.
            assert await entries.find(slot, lease=lease) == lease
            assert await entries.renew(slot, lease)
            encoded = await codec.encode(slot, answer, 60_000)
            put = await entries.put(
                slot, answer, encoded, token="", ttl_ms=60_000, max_tenant_bytes=10**9
            )
            assert put.version == 1
            found = await entries.find(slot)
            assert isinstance(found, Hit) and found.entry.answer == answer
        keys = set(client.keys("*"))
        own = [key.encode() for slot in slots for key in (slot.entry_key, slot.lease_key)]
        assert len(set(own)) == 2 * len(slots) and set(own) <= keys
        # Every other key is of exactly one tenant, one that stored something.
        for key in keys:
            (owner,) = [t for t in TENANTS if key.startswith(tenant_prefix(t).encode())]
            assert owner in {slot.tenant for slot in slots}
