"""The deadline of a stream ends the work in it, and only that."""

import asyncio

import pytest

from infermesh_common.rpc.deadline import StreamDeadline


async def test_work_that_takes_too_long_is_ended_with_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with StreamDeadline(0.01):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_what_is_done_in_time_is_left_alone() -> None:
    async with StreamDeadline(600):
        await asyncio.sleep(0)


async def test_while_it_is_paused_nothing_is_cancelled_and_the_pause_ends_with_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with StreamDeadline(0.01) as deadline:
            deadline.paused = True
            later = asyncio.Event()
            asyncio.get_running_loop().call_later(0.05, later.set)
            await later.wait()
            deadline.resume()


async def test_a_pause_within_the_time_changes_nothing() -> None:
    async with StreamDeadline(600) as deadline:
        deadline.paused = True
        deadline.resume()
        await asyncio.sleep(0)


async def test_a_cancellation_of_somebody_else_stays_one() -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with StreamDeadline(600):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_an_error_of_the_work_is_its_own() -> None:
    with pytest.raises(KeyError):
        async with StreamDeadline(600):
            raise KeyError
