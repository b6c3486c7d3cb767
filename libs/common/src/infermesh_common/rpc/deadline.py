"""The deadline of a stream of responses, and its end before that."""

import asyncio
import types
from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
# What a handler may still say after it was interrupted.
_LAST_WORDS_S = 0.5


class StreamDeadline:
    """As `asyncio.timeout`, but it can be paused at next to no cost: a stream pauses it twice a
    message. A handler that has sent something can also be interrupted by an error of our choice,
    so that it may end its stream with words instead of in the middle.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._passed = False
        self._cancelled = False
        self._sent = False
        self._error: Exception | None = None
        self.paused = False

    async def __aenter__(self) -> "StreamDeadline":
        self._task = asyncio.current_task()
        assert self._task is not None, "a handler runs in a task"
        self._timer = self._task.get_loop().call_later(self._seconds, self._pass)
        return self

    def resume(self) -> None:
        """Goes on after a pause, in which something was sent.

        Raises:
            TimeoutError: the deadline passed meanwhile.
        """
        self.paused = False
        self._sent = True
        if self._passed:
            raise TimeoutError

    def interrupt(self, error: Exception) -> None:
        """Raises `error` where the handler waits, or in its `yield` when it is paused; if it has
        sent nothing yet, or goes on for long, its deadline is over."""
        if self._passed or self._task is None:
            return
        if not self._sent:
            self._pass()
            return
        self._error = error
        if not self.paused:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._task.get_loop().call_later(_LAST_WORDS_S, self._pass)

    @types.coroutine
    def next(self, responses: AsyncGenerator[T, None]) -> Generator[Any, Any, T]:
        """What the handler sends next.

        Raises:
            StopAsyncIteration: nothing; it has ended.
        """
        if self._error is not None:
            steps = responses.athrow(self._taken()).__await__()
        else:
            steps = responses.__anext__().__await__()
        resume, argument = steps.send, None
        # As `yield from`, but that a cancellation by `interrupt` becomes its error.
        while True:
            try:
                awaited = resume(argument)
            except StopIteration as stop:
                value: T = stop.value
                return value
            try:
                argument = yield awaited
                resume = steps.send
            except BaseException as thrown:
                argument = self._translated(thrown)
                resume = steps.throw

    def _translated(self, thrown: BaseException) -> BaseException:
        if self._error is None or not isinstance(thrown, asyncio.CancelledError):
            return thrown
        if self._task is None or self._task.uncancel() > 0:
            # Somebody else wants the task to end.
            return thrown
        return self._taken()

    def _taken(self) -> Exception:
        error, self._error = self._error, None
        assert error is not None, "asked for before"
        return error

    def _pass(self) -> None:
        self._passed = True
        if not self.paused and self._task is not None:
            self._cancelled = True
            self._task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._cancelled or self._task is None:
            return
        # The cancellation was ours, unless somebody else asked for one too.
        if self._task.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error
