"""Two models at once: the second is asked when the first takes too long to begin.

Source: J. Dean and L. A. Barroso, "The Tail at Scale", Communications of the ACM 56 (2013),
section "Hedged requests".
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from infermesh_common.background import end_tasks
from infermesh_common.errors import InfermeshError
from infermesh_router.application.attempts import Attempts, Try

T = TypeVar("T")
Ask = Callable[[Try], Awaitable[T]]
Discard = Callable[[T], Awaitable[None]]


@dataclass(slots=True)
class _Runner(Generic[T]):
    """One model that is being asked, by a task of its own."""

    made: Try
    ask: Ask[T]
    results: list[T]
    error: Exception | None = None

    async def run(self) -> None:
        try:
            self.results.append(await self.ask(self.made))
        except Exception as error:
            self.error = error


class HedgedRace(Generic[T]):
    """Asks the models of one request, and one of them before the other has failed.

    Args:
        attempts: says which, and hears how it went.
        ask: asks a model until it begins to answer.
        discard: ends what `ask` has begun.
        after_s: how long a model may take to begin before the next one is asked too.
    """

    def __init__(
        self, attempts: Attempts, ask: Ask[T], discard: Discard[T], after_s: float
    ) -> None:
        self._attempts = attempts
        self._ask = ask
        self._discard = discard
        self._after_s: float | None = after_s
        self._won = False
        self._running: dict[asyncio.Task[None], _Runner[T]] = {}

    async def run(self) -> T:
        """What the first model to begin has begun. All others have ended by then.

        Raises:
            InfermeshError: as `ModelStage.complete`.
        """
        try:
            self._start(self._attempts.next())
            while self._running:
                done, _ = await asyncio.wait(
                    self._running,
                    timeout=self._after_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    # Once a request: both are paid.
                    self._after_s = None
                    self._start(self._attempts.next(hedges=True))
                elif (begun := self._first_of(done)) is not None:
                    return begun
                elif not self._running:
                    self._start(self._attempts.next())
            raise self._attempts.failure()
        finally:
            await self._end()

    def _start(self, made: Try | None) -> None:
        if made is None:
            return
        runner = _Runner(made, self._ask, [])
        task = asyncio.create_task(runner.run(), name=f"ask-{made.model.name}")
        self._running[task] = runner

    def _first_of(self, done: set[asyncio.Task[None]]) -> T | None:
        """Of those that have ended, what the one asked first has begun; the rest is noted."""
        for task in [task for task in self._running if task in done]:
            runner = self._running[task]
            if runner.results:
                del self._running[task]
                self._attempts.answered(runner.made)
                self._won = True
                return runner.results[0]
            del self._running[task]
            if not isinstance(runner.error, InfermeshError):
                raise runner.error or asyncio.CancelledError()
            self._attempts.failed(runner.made, runner.error)
        return None

    async def _end(self) -> None:
        """Cancels what still runs; its connections are closed when this returns."""
        if not self._running:
            return
        await end_tasks(self._running)
        for runner in self._running.values():
            if self._won:
                self._attempts.given_up(runner.made)
            for begun in runner.results:
                await self._discard(begun)
