"""The deadline of a stream of responses."""

import asyncio
from types import TracebackType


class StreamDeadline:
    """As `asyncio.timeout`, but it can be paused at next to no cost: a stream pauses it twice a
    message.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._passed = False
        self._cancelled = False
        self.paused = False

    async def __aenter__(self) -> "StreamDeadline":
        self._task = asyncio.current_task()
        assert self._task is not None, "a handler runs in a task"
        self._timer = self._task.get_loop().call_later(self._seconds, self._pass)
        return self

    def resume(self) -> None:
        """Goes on after a pause.

        Raises:
            TimeoutError: the deadline passed meanwhile.
        """
        self.paused = False
        if self._passed:
            raise TimeoutError

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
