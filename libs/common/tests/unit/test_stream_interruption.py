"""A handler that is interrupted may say a last word, and no more than that."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from infermesh_common.rpc.deadline import StreamDeadline

Handler = Callable[[], AsyncGenerator[str, None]]


class Stopping(Exception):
    pass


async def serve(handler: Handler, deadline: StreamDeadline, sent: list[str]) -> None:
    """As a pipeline does."""
    async with deadline, aclosing(handler()) as responses:
        while True:
            try:
                message = await deadline.next(responses)
            except StopAsyncIteration:
                return
            deadline.paused = True
            sent.append(message)
            deadline.resume()


async def waits() -> AsyncGenerator[str, None]:
    try:
        yield "one"
        async with asyncio.timeout(600):
            await asyncio.Event().wait()
    except Stopping:
        yield "sorry"
        raise


async def interrupted(handler: Handler) -> tuple[asyncio.Task[None], list[str]]:
    """The task once it has ended, and what it sent."""
    sent: list[str] = []
    deadline = StreamDeadline(600)
    task = asyncio.create_task(serve(handler, deadline, sent))
    while not sent:
        await asyncio.sleep(0)
    deadline.interrupt(Stopping())
    await asyncio.wait({task})
    return task, sent


async def test_a_handler_that_waits_is_told_where_it_waits() -> None:
    task, sent = await interrupted(waits)
    assert sent == ["one", "sorry"]
    assert isinstance(task.exception(), Stopping)


async def test_a_handler_whose_message_is_being_sent_is_told_in_its_yield() -> None:
    sent: list[str] = []
    deadline = StreamDeadline(600)
    async with deadline, aclosing(waits()) as responses:
        sent.append(await deadline.next(responses))
        deadline.paused = True
        deadline.resume()
        deadline.paused = True
        deadline.interrupt(Stopping())
        deadline.resume()
        sent.append(await deadline.next(responses))
        with pytest.raises(Stopping):
            await deadline.next(responses)
    assert sent == ["one", "sorry"]
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_a_handler_that_goes_on_is_ended_soon() -> None:
    async def stubborn() -> AsyncGenerator[str, None]:
        yield "one"
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except Stopping:
                yield "two"

    task, sent = await interrupted(stubborn)
    assert sent == ["one", "two"]
    assert isinstance(task.exception(), TimeoutError)


async def test_a_handler_that_has_sent_nothing_is_ended_at_once() -> None:
    entered = asyncio.Event()

    async def silent() -> AsyncGenerator[str, None]:
        entered.set()
        try:
            await asyncio.Event().wait()
        except Stopping:
            yield "never"
        yield "never"

    sent: list[str] = []
    deadline = StreamDeadline(600)
    task = asyncio.create_task(serve(silent, deadline, sent))
    await entered.wait()
    deadline.interrupt(Stopping())
    await asyncio.wait({task})
    assert isinstance(task.exception(), TimeoutError) and sent == []


async def test_an_interruption_before_the_start_or_after_the_deadline_changes_nothing() -> None:
    deadline = StreamDeadline(0.001)
    deadline.interrupt(Stopping())
    with pytest.raises(TimeoutError):
        async with deadline:
            await asyncio.Event().wait()
    deadline.interrupt(Stopping())
    await asyncio.sleep(0)


async def test_a_client_that_leaves_at_the_same_time_is_gone() -> None:
    sent: list[str] = []
    deadline = StreamDeadline(600)
    task = asyncio.create_task(serve(waits, deadline, sent))
    while not sent:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    deadline.interrupt(Stopping())
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled() and sent == ["one"]


async def test_what_a_handler_awaits_has_its_results_and_its_errors_as_ever() -> None:
    async def fails() -> str:
        await asyncio.sleep(0)
        raise KeyError

    async def handler() -> AsyncGenerator[str, None]:
        yield await asyncio.wait_for(asyncio.sleep(0, "slept"), 600)
        try:
            yield await fails()
        except KeyError:
            yield "caught"
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            yield "late"

    sent: list[str] = []
    await serve(handler, StreamDeadline(600), sent)
    assert sent == ["slept", "caught", "late"]
