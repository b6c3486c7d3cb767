"""Following the store."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_common.errors import Unavailable
from infermesh_common.identity.model import Role
from infermesh_governance.application.follower import KeyFollower
from infermesh_governance.domain.keys import KeyRecord
from infermesh_governance.ports import Head

_FORGET_AFTER_US = 1_000


def _key(number: int, revoked_us: int | None = None) -> KeyRecord:
    return KeyRecord(f"{number:016x}", b"", "acme", Role.MEMBER, revoked_us=revoked_us)


@dataclass
class MemoryStore:
    """`KeyReader` in memory, which can be away and can lose what it holds."""

    away: bool = False
    epoch: str = "first"
    version: int = 0
    held: dict[str, tuple[int, KeyRecord]] = field(default_factory=dict)
    reads: list[tuple[int, int]] = field(default_factory=list)
    heads: int = 0
    before_head: asyncio.Event | None = None

    def put(self, record: KeyRecord) -> None:
        self.version += 1
        self.held[record.key_id] = self.version, record

    def lose_content(self, epoch: str) -> None:
        self.epoch, self.version = epoch, 0
        self.held.clear()

    async def head(self) -> Head:
        self.heads += 1
        if self.before_head is not None:
            await self.before_head.wait()
        self._check()
        return Head(self.epoch, self.version)

    async def changed(self, since: int, until: int) -> list[KeyRecord]:
        self._check()
        self.reads.append((since, until))
        return [record for version, record in self.held.values() if since < version <= until]

    async def forget(self, records: Iterable[KeyRecord]) -> None:
        self._check()
        for record in records:
            self.held.pop(record.key_id, None)

    def _check(self) -> None:
        if self.away:
            raise Unavailable("REDIS_UNAVAILABLE", "redis failed.")


class Following:
    """A follower, what it was told to do and what it told."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now_us = 0
        self.monotonic_s = 100.0
        self.told: list[Mapping[str, KeyRecord]] = []
        self.follower = KeyFollower(
            self.store,
            self.told.append,
            poll_s=60,
            forget_after_us=_FORGET_AFTER_US,
            now_us=lambda: self.now_us,
            monotonic=lambda: self.monotonic_s,
        )

    @property
    def keys(self) -> set[KeyRecord]:
        return set(self.told[-1].values())


@pytest.fixture
def following() -> Following:
    return Following()


async def test_an_empty_store_is_told_too(following: Following) -> None:
    await following.follower.read_once()

    assert following.told == [{}]


async def test_only_what_changed_is_read_and_told(following: Following) -> None:
    following.store.put(_key(1))
    await following.follower.read_once()
    await following.follower.read_once()
    following.store.put(_key(2))
    await following.follower.read_once()

    assert following.store.reads == [(0, 1), (1, 2)]
    assert [len(keys) for keys in following.told] == [1, 2]


@pytest.mark.parametrize("epoch", ["first", "second"])
async def test_keys_that_the_store_has_lost_are_not_held_on_to(
    following: Following, epoch: str
) -> None:
    following.store.put(_key(1))
    following.store.put(_key(2))
    await following.follower.read_once()
    following.store.lose_content(epoch)
    following.store.put(_key(3))
    if epoch != "first":
        # Caught up: only the epoch tells that this is another life.
        following.store.put(_key(3))
    await following.follower.read_once()

    assert following.keys == {_key(3)}


async def test_after_a_failure_everything_is_read_again(following: Following) -> None:
    following.store.put(_key(1))
    await following.follower.read_once()
    following.store.away = True
    await following.follower.read_once()
    # Another server took over, which lacks the last change and has had another one since.
    following.store.lose_content("first")
    following.store.put(_key(2))
    following.store.away = False
    await following.follower.read_once()

    assert following.keys == {_key(2)}


async def test_staleness_counts_from_the_start_of_the_last_good_read(
    following: Following,
) -> None:
    assert following.follower.staleness_s() == float("inf")
    await following.follower.read_once()
    following.monotonic_s += 5
    assert following.follower.staleness_s() == 5
    following.store.away = True
    await following.follower.read_once()
    assert following.follower.staleness_s() == 5
    following.store.away = False
    await following.follower.read_once()
    assert following.follower.staleness_s() == 0


async def test_those_who_wait_share_a_read_that_began_after_they_came(
    following: Following,
) -> None:
    store = following.store
    store.before_head = asyncio.Event()
    running = asyncio.create_task(following.follower.run())
    while store.heads == 0:
        await asyncio.sleep(0)
    # The first read is under way: what changes now may be missing in it.
    waiting = [asyncio.create_task(following.follower.refresh()) for _ in range(10)]
    await asyncio.sleep(0)
    store.before_head.set()
    await asyncio.gather(*waiting)

    assert store.heads == 2
    running.cancel()


async def test_a_failed_read_is_told_to_those_who_wait_and_to_no_others(
    following: Following,
) -> None:
    following.store.away = True
    refresh = asyncio.create_task(following.follower.refresh())
    gone = asyncio.create_task(following.follower.refresh())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    await following.follower.read_once()

    with pytest.raises(Unavailable):
        await refresh
    following.store.away = False
    refresh = asyncio.create_task(following.follower.refresh())
    await asyncio.sleep(0)
    await following.follower.read_once()
    await refresh


async def test_a_dead_key_is_forgotten_here_and_in_the_store(following: Following) -> None:
    following.store.put(_key(1, revoked_us=10))
    following.store.put(_key(2))
    following.now_us = 10 + _FORGET_AFTER_US - 1
    await following.follower.read_once()
    assert len(following.keys) == 2
    following.now_us += 1
    await following.follower.read_once()

    assert following.keys == {_key(2)}
    assert following.store.held.keys() == {_key(2).key_id}


async def test_what_the_store_could_not_forget_is_forgotten_later(following: Following) -> None:
    following.store.put(_key(1, revoked_us=0))
    await following.follower.read_once()
    following.now_us = _FORGET_AFTER_US

    class Reluctant(MemoryStore):
        async def forget(self, records: Iterable[KeyRecord]) -> None:
            raise Unavailable("REDIS_UNAVAILABLE", "redis failed.")

    reluctant = Reluctant(version=1, held=dict(following.store.held))
    told: list[Mapping[str, KeyRecord]] = []
    follower = KeyFollower(
        reluctant,
        told.append,
        poll_s=60,
        forget_after_us=_FORGET_AFTER_US,
        now_us=lambda: following.now_us,
    )
    await follower.read_once()
    assert len(told[-1]) == 1
    await following.follower.read_once()
    assert following.keys == set()


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5)),
        st.tuples(st.just("revoke"), st.integers(0, 5)),
        st.sampled_from([("away", 1), ("away", 0), ("lose", 0), ("read", 0)]),
    ),
    max_size=30,
)


@given(_steps)
def test_whatever_happens_a_good_read_leaves_what_the_store_holds(
    steps: list[tuple[str, int]],
) -> None:
    async def live() -> None:
        following, lives = Following(), 0
        for step, number in steps:
            match step:
                case "put":
                    following.store.put(_key(number))
                case "revoke":
                    following.store.put(replace(_key(number), revoked_us=0))
                case "away":
                    following.store.away = bool(number)
                case "lose":
                    lives += 1
                    following.store.lose_content(f"life {lives}")
                case "read":
                    await following.follower.read_once()
        following.store.away = False
        await following.follower.read_once()
        assert following.keys == {record for _, record in following.store.held.values()}

    asyncio.run(live())
