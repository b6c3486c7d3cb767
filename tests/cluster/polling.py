"""Waits for what becomes true, with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotInTime(AssertionError):
    """What was waited for did not come."""


def until(
    look: Callable[[], T | None],
    *,
    what: str,
    within_s: float,
    every_s: float = 0.5,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = threading.Event().wait,
) -> T:
    """Looks again and again until there is something.

    Args:
        look: returns it, or None (or False) for not yet. Its exceptions end the waiting.
        what: for the error.
        within_s: time for all of it; there is at least one look.
        every_s: time between two looks.
        now: clock, in seconds.
        wait: lets that many seconds pass.

    Raises:
        NotInTime: it did not come.
    """
    deadline = now() + within_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if now() >= deadline:
            raise NotInTime(f"waited {within_s:g} s for {what}")
        wait(every_s)
