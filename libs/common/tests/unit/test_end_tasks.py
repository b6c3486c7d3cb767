"""Tasks end when they are told to."""

import asyncio

from infermesh_common.background import end_tasks


async def test_a_task_that_loses_one_cancellation_ends_nevertheless() -> None:
    lost = 0

    async def work() -> None:
        nonlocal lost
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # What asyncio.wait_for of Python 3.11 does when its inner task is done just then.
            lost += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.wait([task], timeout=0)
    await asyncio.wait_for(end_tasks([task]), 60)
    assert lost == 1 and task.cancelled()


async def test_errors_of_ending_tasks_are_not_raised() -> None:
    async def work() -> None:
        raise ValueError("of its own")

    await end_tasks([asyncio.create_task(work())])
    await end_tasks([])
