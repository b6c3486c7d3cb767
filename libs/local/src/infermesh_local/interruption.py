"""Ctrl-C and SIGTERM while the mesh starts, runs in the foreground, and stops."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ASKS_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], object]


@contextmanager
def as_keyboard_interrupt() -> Iterator[None]:
    """SIGTERM and the closing of the terminal do what Ctrl-C does: raise KeyboardInterrupt."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield


@contextmanager
def held_back() -> Iterator[None]:
    """Nothing interrupts the block: half a clean-up would leave processes behind. What runs in
    it has deadlines of its own."""
    with _handled_by(lambda number, frame: None):
        yield


@contextmanager
def _handled_by(handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        # Python delivers signals to the main thread only; whoever called decides there.
        yield
        return
    before = {number: signal.signal(number, handler) for number in _ASKS_TO_END}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
