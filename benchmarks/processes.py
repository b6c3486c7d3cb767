"""Programs that a benchmark starts: they end with it, and their memory and idleness are seen."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import psutil

_POLL_S = 0.1
_STOP_S = 20.0
_IDLE_WINDOW_S = 0.3
_IDLE_SHARE = 0.1


class NotReady(Exception):
    """Something did not happen in time, or a program ended early; says which."""


@contextlib.contextmanager
def running(
    *command: str, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[int]:
    """A program that runs while the block does; yields its process id.

    Args:
        command: the program and its arguments.
        environment: variables added to ours.
        log: where its output goes; None: nowhere, its errors to ours.
    """
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log else subprocess.DEVNULL
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            env={**os.environ, **(environment or {})},
        )
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    """Polls with a deadline.

    Raises:
        NotReady: it did not hold within the time.
    """
    pause = threading.Event()
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise NotReady(f"{what} did not happen within {within_s:.0f} s")
        pause.wait(_POLL_S)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> list[psutil.Process]:
    """The process and its descendants; empty when it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def rss_mb(pid: int) -> float:
    """Resident MB (10^6 bytes) of the process and its descendants, shared pages counted in each."""
    total = 0
    for process in family(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 1e6


def settle(pids: Iterable[int], within_s: float = 30) -> float:
    """Waits until the processes are idle, so that what one measurement left falls on no other.

    Returns:
        Seconds that it took.

    Raises:
        NotReady: they were still busy after `within_s`.
    """
    watched = list(pids)
    pause = threading.Event()
    begin = time.monotonic()
    before = _cpu_seconds(watched)
    while True:
        pause.wait(_IDLE_WINDOW_S)
        now = _cpu_seconds(watched)
        if now - before < _IDLE_SHARE * _IDLE_WINDOW_S:
            return time.monotonic() - begin - _IDLE_WINDOW_S
        if time.monotonic() - begin > within_s:
            raise NotReady(f"the processes were not idle within {within_s:.0f} s")
        before = now


class Neighbours:
    """How much of the machine others use while we measure.

    Args:
        pids: of ours that are not our descendants.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._begin = time.monotonic()
        self._others = self._others_seconds()

    def percent(self) -> float:
        """Share of all cores that others have used since it was made."""
        used = self._others_seconds() - self._others
        cores = psutil.cpu_count() or 1
        return max(0.0, 100 * used / (cores * max(0.001, time.monotonic() - self._begin)))

    def _others_seconds(self) -> float:
        every = psutil.cpu_times()
        # Interrupts are left out: those of our own traffic are in them.
        busy = every.user + every.nice + every.system + getattr(every, "steal", 0.0)
        us = psutil.Process().cpu_times()
        ended = us.children_user + us.children_system
        return float(busy - ended - _cpu_seconds([os.getpid(), *self._pids]))


def _cpu_seconds(pids: Iterable[int]) -> float:
    total = 0.0
    for pid in pids:
        for process in family(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
    return total
