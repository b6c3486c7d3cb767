"""Work that outlives the request that started it."""

import asyncio
from collections.abc import Collection, Coroutine

import structlog

from infermesh_common.telemetry.logs import without_text

_log = structlog.get_logger(__name__)
_REPEAT_S = 2.0


async def end_tasks(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels `tasks` and waits until all of them have ended; their errors are not raised.

    A task that goes on is cancelled again: `asyncio.wait_for` of Python 3.11, which redis-py
    uses, swallows a cancellation that meets the end of what it waits for.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_REPEAT_S)
    await asyncio.gather(*tasks, return_exceptions=True)


class BackgroundTasks:
    """Keeps tasks alive until they are done, and waits for them at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Runs `work`; a failure is logged as a defect."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background_task_failed", task=task.get_name(), error=without_text(error))

    async def drain(self, timeout_s: float) -> None:
        """Waits for what is under way, then cancels the rest."""
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=timeout_s)
            await end_tasks(late)

    def __len__(self) -> int:
        return len(self._tasks)
