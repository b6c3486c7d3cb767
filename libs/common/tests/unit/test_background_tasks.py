"""Work started in the background is waited for, and its failures are not lost."""

import asyncio
import json

import pytest

from infermesh_common.background import BackgroundTasks
from infermesh_common.telemetry.logs import configure_logs


async def test_work_is_finished_before_the_end() -> None:
    tasks = BackgroundTasks()
    done: list[int] = []
    release = asyncio.Event()

    async def work(number: int) -> None:
        await release.wait()
        done.append(number)

    for number in range(3):
        tasks.start(work(number), "work")
    assert len(tasks) == 3
    release.set()
    await tasks.drain(20)
    assert done == [0, 1, 2] and len(tasks) == 0


async def test_work_that_does_not_end_is_cancelled_in_the_end() -> None:
    tasks = BackgroundTasks()
    task = tasks.start(asyncio.sleep(3600), "for_ever")
    await tasks.drain(0.01)
    assert task.cancelled() and len(tasks) == 0


async def test_draining_nothing_is_immediate() -> None:
    await BackgroundTasks().drain(0)


async def test_a_failure_is_logged_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test", "INFO")
    tasks = BackgroundTasks()

    async def fail(text: str) -> None:
        raise ValueError(text)

    task = tasks.start(fail("the prompt"), "storing")
    await asyncio.wait({task})
    await tasks.drain(20)
    output = capsys.readouterr().out
    (line,) = [json.loads(text) for text in output.splitlines()]
    assert (line["event"], line["task"]) == ("background_task_failed", "storing")
    assert "ValueError" in line["error"] and "in fail" in line["error"]
    assert "the prompt" not in output
