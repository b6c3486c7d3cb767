"""Those who wait in this process for answers that are being made elsewhere."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace

import structlog

from infermesh_cache.domain.keys import Slot
from infermesh_cache.domain.outcomes import Hit, InFlight, Lease
from infermesh_cache.ports import FlightStore
from infermesh_common.background import end_tasks
from infermesh_common.errors import InfermeshError, Unavailable

_log = structlog.get_logger(__name__)
_Outcome = Hit | Lease | InfermeshError


@dataclass(eq=False)
class _Waiter:
    not_before_us: int
    outcome: asyncio.Future[_Outcome]


@dataclass(eq=False)
class _Flight:
    """One flight that somebody here waits for."""

    slot: Slot
    expires_in_ms: int
    waiters: list[_Waiter] = field(default_factory=list)
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Flights:
    """Waits for flights, with one look at the store for all who wait for the same one.

    A task per flight looks when the flight is announced to have ended, when its lease runs out,
    and now and then in case an announcement was lost. What it finds goes to everybody it is fresh
    enough for; a lease goes to the one who has waited longest, and the others wait on. An error of
    the store ends the waiting of all: nobody waits for a store that is down.

    Args:
        entries: where to look.
        new_lease: makes the lease to ask for.
        poll_ms: longest time between two looks, in milliseconds.
    """

    def __init__(
        self, entries: FlightStore, *, new_lease: Callable[[], Lease], poll_ms: int
    ) -> None:
        self._entries = entries
        self._new_lease = new_lease
        self._poll_ms = poll_ms
        self._flights: dict[str, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait(self, slot: Slot, seen: InFlight, wait_ms: int) -> Hit | Lease | None:
        """What comes of the flight of `slot`; None when nothing came within `wait_ms`.

        Args:
            slot: what is waited for.
            seen: the flight, as the store told.
            wait_ms: longest time in milliseconds.

        Raises:
            InfermeshError: the store failed meanwhile.
        """
        waiter = _Waiter(seen.not_before_us, asyncio.get_running_loop().create_future())
        flight = self._join(slot, seen, waiter)
        try:
            # Unlike wait_for, this neither cancels the future nor loses what came at the last
            # moment.
            await asyncio.wait([waiter.outcome], timeout=wait_ms / 1000)
        except asyncio.CancelledError:
            if waiter.outcome.done() and isinstance(lease := waiter.outcome.result(), Lease):
                self._spawn(self._give_back(slot, lease), "flight-give-back")
            raise
        finally:
            if waiter in flight.waiters:
                flight.waiters.remove(waiter)
            if not flight.waiters:
                flight.woken.set()
        if not waiter.outcome.done():
            return None
        outcome = waiter.outcome.result()
        if isinstance(outcome, InfermeshError):
            raise outcome
        return outcome

    def flight_ended(self, flight: str) -> None:
        """See `FlightListener.flight_ended`."""
        if (waited_for := self._flights.get(flight)) is not None:
            waited_for.woken.set()

    def announcements_missed(self) -> None:
        """See `FlightListener.announcements_missed`."""
        for flight in self._flights.values():
            flight.woken.set()

    async def close(self) -> None:
        """Ends all waiting."""
        await end_tasks(tuple(self._tasks))

    def _join(self, slot: Slot, seen: InFlight, waiter: _Waiter) -> _Flight:
        flight = self._flights.get(slot.lease_key)
        if flight is None:
            flight = _Flight(slot, seen.expires_in_ms)
            self._flights[slot.lease_key] = flight
            self._spawn(self._follow(flight), "flight")
        flight.waiters.append(waiter)
        return flight

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        # In an empty context: the task serves many requests and must not inherit the deadline of
        # the one that happened to come first.
        task = asyncio.create_task(work, name=name, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("flight_task_failed", task=task.get_name(), exc_info=error)

    async def _follow(self, flight: _Flight) -> None:
        """Looks until nobody waits."""
        try:
            while flight.waiters:
                # Cleared before the look: what is announced during it leads to another one. The
                # first look comes at once, for the flight may have ended before anybody listened.
                flight.woken.clear()
                if await self._look(flight):
                    continue
                pause_ms = min(self._poll_ms, flight.expires_in_ms + 1)
                try:
                    async with asyncio.timeout(pause_ms / 1000):
                        await flight.woken.wait()
                except TimeoutError:
                    continue
        except InfermeshError as error:
            _settle_all(flight, error)
        finally:
            del self._flights[flight.slot.lease_key]
            _settle_all(
                flight, Unavailable("FLIGHT_INTERRUPTED", "Waiting for the answer was interrupted.")
            )

    async def _look(self, flight: _Flight) -> bool:
        """Looks once; whether that ended somebody's waiting."""
        asked = self._new_lease()
        not_before_us = flight.waiters[0].not_before_us
        found = await self._entries.find(flight.slot, not_before_us=not_before_us, lease=asked)
        if isinstance(found, Hit):
            shared = replace(found, shared=True)
            for waiter in list(flight.waiters):
                if waiter.not_before_us <= found.entry.create_time_us:
                    _settle(flight, waiter, shared)
            return True
        if isinstance(found, Lease):
            if not flight.waiters:
                await self._give_back(flight.slot, found)
                return True
            _settle(flight, flight.waiters[0], found)
            return True
        if isinstance(found, InFlight):
            flight.expires_in_ms = found.expires_in_ms
        return False

    async def _give_back(self, slot: Slot, lease: Lease) -> None:
        """Gives up a lease whose taker has gone, so that others need not wait for its end."""
        try:
            await self._entries.release(slot, lease.token)
        except InfermeshError as error:
            _log.info("lease_not_given_back", reason=error.reason)


def _settle(flight: _Flight, waiter: _Waiter, outcome: _Outcome) -> None:
    flight.waiters.remove(waiter)
    if not waiter.outcome.done():
        waiter.outcome.set_result(outcome)


def _settle_all(flight: _Flight, outcome: _Outcome) -> None:
    for waiter in list(flight.waiters):
        _settle(flight, waiter, outcome)
