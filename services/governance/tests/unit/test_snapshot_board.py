"""The snapshot in force and its watchers."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from infermesh_common.errors import Unavailable
from infermesh_common.identity.directory import IdentityDirectory
from infermesh_common.identity.model import Role
from infermesh_governance.adapters.inbound.identity_updates import IdentityUpdates
from infermesh_governance.application.board import SnapshotBoard, Update
from infermesh_governance.domain.keys import KeyRecord, KeyState, Origin
from infermesh_governance.domain.snapshot import Tenant


def _keys(*key_ids: str, revoked_us: int | None = None) -> dict[str, KeyRecord]:
    return {
        key_id: KeyRecord(key_id, b"", "acme", Role.MEMBER, revoked_us=revoked_us)
        for key_id in key_ids
    }


class Clock:
    """Microseconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.now_us = 1_000

    def __call__(self) -> int:
        return self.now_us


def _board(clock: Clock | None = None, heartbeat_s: float = 60) -> SnapshotBoard:
    return SnapshotBoard(staleness_s=lambda: 1.5, heartbeat_s=heartbeat_s, now_us=clock or Clock())


async def _next(watch: AsyncIterator[Update]) -> Update:
    async with asyncio.timeout(20):
        return await anext(watch)


async def test_there_is_no_partial_snapshot() -> None:
    board = _board()
    board.put_declared(_keys("declared"))
    board.put_tenants({"acme": Tenant("acme", "", False)})

    with pytest.raises(Unavailable) as refused:
        await _next(board.watch())
    assert refused.value.reason == "IDENTITIES_NOT_LOADED"

    board.put_issued(_keys("issued"))
    snapshot = (await _next(board.watch())).snapshot
    assert snapshot is not None
    assert snapshot.keys.keys() == {"declared", "issued"}


async def test_every_source_reaches_a_watcher_under_a_higher_version() -> None:
    board = _board()
    board.put_issued({})
    watch = board.watch()
    versions = [(await _next(watch)).version]
    changes: list[Callable[[], None]] = [
        lambda: board.put_issued(_keys("a")),
        lambda: board.put_declared(_keys("b")),
        lambda: board.put_tenants({"acme": Tenant("acme", "", True)}),
        lambda: board.put_declared({}),
    ]
    for change in changes:
        change()
        update = await _next(watch)
        assert update.snapshot is board.snapshot
        versions.append(update.version)

    assert versions == sorted(set(versions))


async def test_a_heartbeat_has_the_version_of_the_snapshot_before_it() -> None:
    board = _board(heartbeat_s=0.001)
    board.put_issued({})
    watch = board.watch()
    first = await _next(watch)
    second = await _next(watch)

    assert second.snapshot is None
    assert second.version == first.version
    assert second.staleness_s == 1.5


async def test_what_does_not_change_the_snapshot_wakes_nobody() -> None:
    board = _board()
    board.put_issued(_keys("a"))
    before = board.snapshot
    board.put_issued(_keys("a"))

    assert board.snapshot is before


async def test_versions_grow_when_the_clock_steps_back() -> None:
    clock = Clock()
    board = _board(clock)
    board.put_issued({})
    first = await _next(board.watch())
    clock.now_us -= 500
    second = await _next(board.watch())

    assert second.version > first.version


async def test_a_watcher_that_moves_to_a_younger_replica_sees_versions_grow() -> None:
    clock = Clock()
    old, young = _board(clock), _board(clock)
    old.put_issued({})
    watch = old.watch()
    seen = [(await _next(watch)).version]
    for number in range(50):
        old.put_issued(_keys(f"{number}"))
        seen.append((await _next(watch)).version)
    clock.now_us += 1_000
    young.put_issued(_keys("49"))
    seen.append((await _next(young.watch())).version)

    assert seen == sorted(set(seen))


async def test_a_slow_watcher_gets_the_latest_snapshot_and_nothing_is_kept_for_it() -> None:
    board = _board()
    board.put_issued({})
    slow, quick = board.watch(), board.watch()
    await _next(slow)
    await _next(quick)
    for number in range(100):
        board.put_issued(_keys(f"{number}"))
        assert (await _next(quick)).snapshot is board.snapshot

    assert (await _next(slow)).snapshot is board.snapshot
    waiting = asyncio.ensure_future(_next(slow))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_closing_ends_every_watch_and_refuses_new_ones() -> None:
    board = _board()
    board.put_issued({})
    watch = board.watch()
    await _next(watch)
    board.close()

    with pytest.raises(StopAsyncIteration):
        await _next(watch)
    with pytest.raises(Unavailable) as refused:
        await _next(board.watch())
    assert refused.value.reason == "SERVICE_STOPPING"


async def test_declaring_a_revoked_key_does_not_bring_it_back() -> None:
    board = _board()
    board.put_issued(_keys("a", revoked_us=5))
    board.put_declared({"a": KeyRecord("a", b"", "acme", Role.ADMIN, origin=Origin.DECLARED)})

    assert board.loaded().keys["a"].state(10) is KeyState.REVOKED


async def test_the_own_directory_is_fed_as_soon_as_there_is_a_snapshot() -> None:
    board = _board()
    directory = IdentityDirectory(internal_token="t", max_age_s=300)
    feeding = asyncio.create_task(IdentityUpdates(board).feed(directory))
    await asyncio.sleep(0)
    assert not directory.is_fresh()
    board.put_tenants({"acme": Tenant("acme", "", False)})
    board.put_issued(_keys("a"))
    async with asyncio.timeout(20):
        while not directory.is_fresh():
            await asyncio.sleep(0)
        board.close()
        await feeding
