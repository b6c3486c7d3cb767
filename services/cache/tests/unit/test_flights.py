"""Waiting for flights, with a store that answers by script."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from infermesh_cache.application.cache import LeaseMaker
from infermesh_cache.application.flights import Flights
from infermesh_cache.domain.entry import Answer, Entry
from infermesh_cache.domain.keys import Slot
from infermesh_cache.domain.outcomes import Hit, InFlight, Lease, Miss
from infermesh_common.errors import InfermeshError, Unavailable
from infermesh_common.testing.servers import eventually

SLOT = Slot("acme", 0, b"f" * 32)
OTHERS = InFlight(expires_in_ms=600_000, not_before_us=0)
LONG_MS = 60_000
GRANTED = "granted"


class ScriptedStore:
    """Answers every look with `now`, or with what is asked for."""

    def __init__(self) -> None:
        self.now: Hit | InFlight | InfermeshError | str = OTHERS
        self.looks = 0
        self.busy: asyncio.Event | None = None
        self.released: list[str] = []
        self.on_grant: Callable[[], object] = lambda: None

    async def find(
        self,
        slot: Slot,
        *,
        max_age_us: int | None = None,
        not_before_us: int = 0,
        lease: Lease | None = None,
    ) -> Hit | Lease | InFlight | Miss:
        assert slot == SLOT and lease is not None
        self.looks += 1
        if self.busy is not None:
            await self.busy.wait()
        if isinstance(self.now, InfermeshError):
            raise self.now
        if isinstance(self.now, str):
            self.now = OTHERS
            self.on_grant()
            return lease
        if isinstance(self.now, Hit) and self.now.entry.create_time_us < not_before_us:
            return OTHERS
        return self.now

    async def release(self, slot: Slot, token: str) -> None:
        self.released.append(token)


def hit(create_time_us: int) -> Hit:
    return Hit(Entry(Answer(b"42", "small", "main", None, ()), 1, create_time_us))


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
async def flights(store: ScriptedStore) -> AsyncIterator[Flights]:
    flights = Flights(store, new_lease=LeaseMaker(5_000), poll_ms=LONG_MS)
    yield flights
    await flights.close()


Waiting = asyncio.Task[Hit | Lease | None]


async def joined(
    flights: Flights, store: ScriptedStore, *not_before_us: int, wait_ms: int = LONG_MS
) -> list[Waiting]:
    """Tasks that wait, oldest first; the first look is over."""
    tasks = []
    for earliest in not_before_us:
        tasks.append(asyncio.create_task(flights.wait(SLOT, InFlight(600_000, earliest), wait_ms)))
        await eventually(lambda: store.looks == 1)
    return tasks


def ended(flights: Flights) -> None:
    flights.flight_ended(SLOT.lease_key)


async def test_one_look_serves_all_who_wait(flights: Flights, store: ScriptedStore) -> None:
    tasks = await joined(flights, store, *[0] * 50)
    store.now = hit(1)
    ended(flights)
    outcomes = await asyncio.gather(*tasks)
    assert all(isinstance(o, Hit) and o.shared for o in outcomes)
    assert store.looks == 2


async def test_a_lease_goes_to_the_one_who_waited_longest_and_to_no_other(
    flights: Flights, store: ScriptedStore
) -> None:
    first, second = await joined(flights, store, 0, 0)
    store.now = GRANTED
    ended(flights)
    assert isinstance(await first, Lease)
    assert not second.done()
    store.now = GRANTED
    ended(flights)
    assert isinstance(await second, Lease)


async def test_an_entry_goes_to_those_it_is_fresh_enough_for(
    flights: Flights, store: ScriptedStore
) -> None:
    easy, strict = await joined(flights, store, 10, 20)
    store.now = hit(15)
    ended(flights)
    assert isinstance(await easy, Hit)
    assert not strict.done()
    store.now = hit(25)
    ended(flights)
    assert isinstance(await strict, Hit)


async def test_an_error_of_the_store_ends_all_waiting(
    flights: Flights, store: ScriptedStore
) -> None:
    tasks = await joined(flights, store, 0, 0, 0)
    store.now = Unavailable("REDIS_UNAVAILABLE", "redis failed.")
    flights.announcements_missed()
    for task in tasks:
        with pytest.raises(Unavailable, match="redis failed"):
            await task
    # The next one starts afresh.
    store.now = hit(1)
    assert isinstance(await flights.wait(SLOT, OTHERS, LONG_MS), Hit)


async def test_a_flight_that_ended_before_anybody_listened_is_noticed_at_once(
    flights: Flights, store: ScriptedStore
) -> None:
    store.now = hit(1)
    assert isinstance(await flights.wait(SLOT, OTHERS, LONG_MS), Hit)


async def test_an_announcement_during_a_look_leads_to_another_look(
    flights: Flights, store: ScriptedStore
) -> None:
    store.busy = asyncio.Event()
    (task,) = await joined(flights, store, 0)
    ended(flights)
    busy, store.busy = store.busy, None
    busy.set()  # the look under way still finds the flight
    await eventually(lambda: store.looks == 2)
    store.now = hit(1)
    ended(flights)
    assert isinstance(await task, Hit)


async def test_the_end_of_a_lease_is_not_slept_through(store: ScriptedStore) -> None:
    flights = Flights(store, new_lease=LeaseMaker(5_000), poll_ms=LONG_MS)
    store.now = InFlight(expires_in_ms=5, not_before_us=0)
    task = asyncio.create_task(flights.wait(SLOT, store.now, LONG_MS))
    await eventually(lambda: store.looks >= 3)
    store.now = GRANTED
    assert isinstance(await task, Lease)
    await flights.close()


async def test_nobody_looks_when_nobody_waits(flights: Flights, store: ScriptedStore) -> None:
    assert await flights.wait(SLOT, OTHERS, 1) is None
    (gives_up,) = [asyncio.create_task(flights.wait(SLOT, OTHERS, LONG_MS))]
    await eventually(lambda: store.looks >= 1)
    gives_up.cancel()
    await asyncio.gather(gives_up, return_exceptions=True)
    looks = store.looks
    ended(flights)
    store.now = hit(1)
    assert isinstance(await flights.wait(SLOT, OTHERS, LONG_MS), Hit)
    assert store.looks == looks + 1
    assert store.released == []


async def test_a_lease_whose_taker_has_gone_is_given_back(
    flights: Flights, store: ScriptedStore
) -> None:
    store.busy = asyncio.Event()
    (gives_up,) = await joined(flights, store, 0)
    gives_up.cancel()
    await asyncio.gather(gives_up, return_exceptions=True)
    store.now = GRANTED
    store.busy.set()
    await eventually(lambda: len(store.released) == 1)


async def test_a_lease_that_meets_a_cancellation_is_given_back(
    flights: Flights, store: ScriptedStore
) -> None:
    (task,) = await joined(flights, store, 0)
    store.now = GRANTED
    # In the very turn of the loop in which the lease is handed over.
    store.on_grant = lambda: asyncio.get_running_loop().call_soon(task.cancel)
    ended(flights)
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError)
    await eventually(lambda: len(store.released) == 1)


async def test_closing_ends_all_waiting(flights: Flights, store: ScriptedStore) -> None:
    (task,) = await joined(flights, store, 0)
    await flights.close()
    with pytest.raises(Unavailable) as error:
        await task
    assert error.value.reason == "FLIGHT_INTERRUPTED"
