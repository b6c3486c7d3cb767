"""Log lines are written in batches, in order, and none that matters waits."""

import threading
import time

import pytest

from infermesh_common.telemetry.line_output import LineLogger, LineOutput

DEADLINE_S = 20.0


def written(capsys: pytest.CaptureFixture[str], *lines: str) -> bool:
    """Whether those lines appear, in that order, before the deadline."""
    seen, expected = "", "".join(line + "\n" for line in lines)
    deadline_s = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while seen != expected and time.monotonic() < deadline_s:
        pause.wait(0.01)
        seen += capsys.readouterr().out
    return seen == expected


def test_without_an_interval_each_line_is_written_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = LineLogger(LineOutput(0))
    logger.info("one")
    assert capsys.readouterr().out == "one\n"


def test_lines_wait_for_others_and_are_written_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    logger = LineLogger(LineOutput(0.05))
    for n in range(5):
        logger.info(str(n))
    assert written(capsys, *map(str, range(5)))
    logger.debug("later")
    assert written(capsys, "later")


def test_a_warning_is_written_at_once_with_all_that_wait(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = LineLogger(LineOutput(3_600))
    logger.info("waits")
    assert capsys.readouterr().out == ""
    logger.warning("hurries")
    assert capsys.readouterr().out == "waits\nhurries\n"


def test_many_lines_do_not_wait(capsys: pytest.CaptureFixture[str]) -> None:
    logger = LineLogger(LineOutput(3_600))
    for _ in range(499):
        logger.info("x")
    assert capsys.readouterr().out == ""
    logger.info("x")
    assert capsys.readouterr().out == "x\n" * 500


def test_no_line_of_many_threads_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    output = LineOutput(0.001)
    logger = LineLogger(output)

    def write(name: int) -> None:
        for n in range(500):
            logger.info(f"{name}-{n}")

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    output.drain()
    lines = capsys.readouterr().out.split()
    assert sorted(lines) == sorted(f"{name}-{n}" for name in range(4) for n in range(500))
    for name in range(4):
        numbers = [int(line.split("-")[1]) for line in lines if line.startswith(f"{name}-")]
        assert numbers == sorted(numbers)
