"""Copies of entries are served only while it is certain that they still hold."""

from hypothesis import given
from hypothesis import strategies as st

from infermesh_common.context import RequestContext, bind
from infermesh_common.identity.model import Identity, Role
from infermesh_router.application.near_cache import Copies, NearCache
from infermesh_router.ports import CachedAnswer, EntryChanges, Missed

FINGERPRINT = b"f" * 32


def answer(body=b"42", *, age_s=0.0, ttl_s=60.0, shared=False):
    return CachedAnswer(body, "small", "main", None, age_s, ttl_s, shared)


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def copies(clock, *, max_bytes=1_000_000, max_age_s=30.0):
    return Copies(max_bytes=max_bytes, max_age_s=max_age_s, monotonic=clock)


def told(*tenants, everything=False, lease_s=1.0):
    return EntryChanges("1-1", None if everything else frozenset(tenants), lease_s)


def put(kept, tenant="acme", fingerprint=FINGERPRINT, **values):
    kept.put(tenant, fingerprint, answer(**values), kept.generation(tenant))


def test_a_copy_is_served_only_under_a_lease_counted_from_the_asking():
    clock = Clock()
    kept = copies(clock)
    put(kept)
    assert kept.get("acme", FINGERPRINT) is None
    asked_at_s = clock.now_s
    clock.now_s += 0.4
    kept.renew(told(), asked_at_s)
    assert kept.get("acme", FINGERPRINT) is not None
    clock.now_s = asked_at_s + 1.0
    assert kept.get("acme", FINGERPRINT) is None
    kept.renew(told(), clock.now_s)
    assert kept.get("acme", FINGERPRINT) is not None


def test_a_change_takes_the_copies_of_its_tenant_and_of_no_other():
    clock = Clock()
    kept = copies(clock)
    put(kept, "acme")
    put(kept, "globex")
    kept.renew(told("acme"), clock.now_s)
    assert kept.get("acme", FINGERPRINT) is None
    assert kept.get("globex", FINGERPRINT) is not None
    kept.renew(told(everything=True), clock.now_s)
    assert kept.get("globex", FINGERPRINT) is None


def test_what_was_looked_up_before_a_change_is_not_kept_after_it():
    clock = Clock()
    kept = copies(clock)
    generation = kept.generation("acme")
    kept.renew(told("acme"), clock.now_s)
    kept.put("acme", FINGERPRINT, answer(), generation)
    assert kept.get("acme", FINGERPRINT) is None


def test_a_copy_lives_no_longer_than_its_entry_nor_than_its_bound():
    clock = Clock()
    kept = copies(clock, max_age_s=30.0)
    put(kept, fingerprint=b"entry", age_s=50.0, ttl_s=60.0)
    put(kept, fingerprint=b"bound", ttl_s=600.0)
    put(kept, fingerprint=b"unknown", ttl_s=0.0)
    for after_s, alive in ((9.9, (True, True)), (10.0, (False, True)), (30.0, (False, False))):
        clock.now_s = 100.0 + after_s
        kept.renew(told(), clock.now_s)
        found = [kept.get("acme", name) is not None for name in (b"entry", b"bound")]
        assert tuple(found) == alive
        assert kept.get("acme", b"unknown") is None


def test_a_copy_ages():
    clock = Clock()
    kept = copies(clock)
    put(kept, age_s=2.0, shared=True)
    clock.now_s += 3.0
    kept.renew(told(), clock.now_s)
    found = kept.get("acme", FINGERPRINT)
    assert found is not None and (found.age_s, found.shared) == (5.0, False)


def test_copies_stay_within_their_bytes_and_none_is_kept_in_none():
    clock = Clock()
    kept = copies(clock, max_bytes=10_000)
    kept.renew(told(), clock.now_s)
    for n in range(50):
        put(kept, fingerprint=str(n).encode(), body=b"x" * 1_000)
    left = [n for n in range(50) if kept.get("acme", str(n).encode()) is not None]
    assert left == [45, 46, 47, 48, 49]
    put(kept, fingerprint=b"large", body=b"x" * 20_000)
    assert kept.get("acme", b"large") is None
    nothing = copies(clock, max_bytes=0)
    nothing.renew(told(), clock.now_s)
    put(nothing)
    assert nothing.get("acme", FINGERPRINT) is None


tenants = st.sampled_from(["acme", "acm", "globex"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("store"), tenants),
        st.tuples(st.just("invalidate"), tenants),
        st.tuples(st.just("poll"), tenants),
        st.tuples(st.just("wait"), tenants),
        st.tuples(st.just("look"), tenants),
    ),
    max_size=60,
)


@given(steps)
def test_nothing_is_served_after_its_invalidation_has_returned(steps):
    """A model of the protocol: an invalidation waits for a lease, polls come when they like."""
    clock = Clock()
    kept = copies(clock)
    entries, changed, version = {}, set(), 0
    for what, tenant in steps:
        if what == "store":
            version += 1
            entries[tenant] = str(version).encode()
            put(kept, tenant, body=entries[tenant])
        elif what == "invalidate":
            entries.pop(tenant, None)
            changed.add(tenant)
            clock.now_s += 1.0
        elif what == "poll":
            kept.renew(told(*changed), clock.now_s)
            changed.clear()
        elif what == "wait":
            clock.now_s += 0.3
        found = kept.get(tenant, FINGERPRINT)
        assert found is None or found.body == entries.get(tenant)


class Inner:
    def __init__(self, found):
        self.found, self.asked = found, 0

    async def lookup(self, fingerprint, *, max_age_s, single_flight, wait_ms, semantic=None):
        self.asked += 1
        return self.found


def call_of(tenant):
    call = RequestContext("/a/B", "id", {}, 0.0, 0)
    call.identity = Identity(tenant, "key", Role.MEMBER)
    bind(call)


async def look(near, max_age_s=None):
    return await near.lookup(FINGERPRINT, max_age_s=max_age_s, single_flight=True, wait_ms=0)


async def test_a_second_lookup_asks_nobody_and_a_freshness_bound_is_kept(metrics):
    clock = Clock()
    kept = copies(clock)
    kept.renew(told(lease_s=1_000), clock.now_s)
    inner = Inner(answer(age_s=5.0))
    near = NearCache(inner, kept, metrics)
    call_of("acme")
    assert (await look(near)).body == b"42"
    assert (await look(near)).body == b"42"
    assert inner.asked == 1
    assert (await look(near, max_age_s=5)).body == b"42" and inner.asked == 1
    clock.now_s += 1.0
    await look(near, max_age_s=5)
    assert inner.asked == 2
    call_of("globex")
    await look(near)
    assert inner.asked == 3
    assert metrics.sample("infermesh_near_cache_lookups_total", {"outcome": "hit"}) == 2


async def test_a_miss_is_not_kept(metrics):
    clock = Clock()
    kept = copies(clock)
    kept.renew(told(lease_s=1_000), clock.now_s)
    inner = Inner(Missed())
    near = NearCache(inner, kept, metrics)
    call_of("acme")
    await look(near)
    await look(near)
    assert inner.asked == 2
