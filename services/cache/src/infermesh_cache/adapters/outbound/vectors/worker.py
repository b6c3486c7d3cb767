"""One thread that owns an index: nothing else touches it, so that nothing needs a lock.

Lookups and writes come first; long work (building graphs, sweeping) is done in steps between them,
and gets its turn also when they never end.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TypeVar

from infermesh_common.errors import Unavailable

T = TypeVar("T")
Steps = Generator[None, None, T]
# After so many pieces of urgent work in a row a step of the long work is done.
_IN_A_ROW = 4


class Worker:
    """The thread and what waits for it.

    Args:
        name: of the thread.
        max_queued: urgent work beyond it is refused.
    """

    def __init__(self, name: str, *, max_queued: int) -> None:
        self._name = name
        self._max_queued = max_queued
        self._urgent: deque[Callable[[], None]] = deque()
        self._long: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work()`, soon.

        Raises:
            Unavailable: VECTORS_OVERLOADED, too much waits; VECTORS_CLOSED.
        """
        future: Future[T] = Future()

        def piece() -> None:
            if future.set_running_or_notify_cancel():
                _settle(future, work)

        with self._changed:
            if len(self._urgent) >= self._max_queued:
                raise Unavailable("VECTORS_OVERLOADED", "The vector index has too much to do.")
            self._put(self._urgent, piece)
        return await asyncio.wrap_future(future)

    async def run_steps(self, steps: Callable[[], Steps[T]]) -> T:
        """The result of a generator that yields between its steps, each of a few milliseconds.

        Raises:
            Unavailable: VECTORS_CLOSED.
        """
        future: Future[T] = Future()
        running: list[Steps[T]] = []

        def piece() -> None:
            if not running:
                if not future.set_running_or_notify_cancel():
                    return
                running.append(steps())
            try:
                next(running[0])
            except StopIteration as end:
                future.set_result(end.value)
            except BaseException as error:  # to whom waits for it, whatever it is
                future.set_exception(error)
            else:
                with self._changed:
                    if self._closed:
                        future.set_exception(_closed())
                    else:
                        self._put(self._long, piece)

        with self._changed:
            self._put(self._long, piece)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Ends the thread after what it is doing; what waits fails with VECTORS_CLOSED."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _put(self, queue: deque[Callable[[], None]], piece: Callable[[], None]) -> None:
        if self._closed:
            raise _closed()
        queue.append(piece)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._changed.notify()

    def _work(self) -> None:
        in_a_row = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._urgent or self._long or self._closed)
                if self._closed and not self._urgent:
                    # Steps that are left find the worker closed.
                    left = list(self._long)
                    self._long.clear()
                    break
                patient = bool(self._long) and (not self._urgent or in_a_row >= _IN_A_ROW)
                piece = (self._long if patient else self._urgent).popleft()
            in_a_row = 0 if patient else in_a_row + 1
            piece()
        for piece in left:
            piece()


def _settle(future: "Future[T]", work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # to whom waits for it, whatever it is
        future.set_exception(error)


def _closed() -> Unavailable:
    return Unavailable("VECTORS_CLOSED", "The vector index is closed.")
