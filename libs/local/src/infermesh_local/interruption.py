"""Requests to end: Ctrl-C and SIGTERM."""

import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_ASKS_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Turns the first request to end into one KeyboardInterrupt.

    SIGTERM and the closing of the terminal do what Ctrl-C does. From the first request on, and
    from `hold` on, further ones do nothing: half a clean-up would leave processes behind, and what
    is done then has deadlines of its own.
    """

    def __init__(self) -> None:
        self._held = False

    def hold(self) -> None:
        """From now on nothing is interrupted."""
        self._held = True

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Handles the signals within the block."""
        if threading.current_thread() is not threading.main_thread():
            # Python delivers signals to the main thread only; whoever called decides there.
            yield
            return
        before = {number: signal.signal(number, self._interrupt) for number in _ASKS_TO_END}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._held:
            self._held = True
            raise KeyboardInterrupt


class SignalWait:
    """Catches signals from now on, and waits for the first of them.

    Unlike an event that a handler sets, it misses none: neither one that comes just before the
    wait, nor one that the operating system hands to a thread that is not Python's.

    Args:
        numbers: signals to catch.
    """

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda caught, frame: None)

    def wait(self) -> None:
        """Returns when one of the signals has come."""
        self._reader.recv(1)
