"""Standard output, written in batches: a system call a line would cost more than the line."""

import atexit
import sys
import threading

_MOST_LINES = 500


class LineOutput:
    """A text stream for whole lines.

    Lines wait for at most `interval_s` for others to go with them, unless they are urgent; what a
    process that is killed still holds is lost. Standard output is taken as it is when lines are
    written: loggers are made once and kept, and a stream that was replaced must not be kept with
    them.

    Args:
        interval_s: longest time that lines wait, in seconds; 0 writes each at once.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._waiting = threading.Event()
        self._writer: threading.Thread | None = None

    def write(self, text: str) -> None:
        """Takes the next line."""
        with self._lock:
            self._lines.append(text)

    def flush(self) -> None:
        """Sees to it that what was taken is written in time."""
        if not self._interval_s or len(self._lines) >= _MOST_LINES:
            self.drain()
        elif self._writer is None:
            self._start()
        elif not self._waiting.is_set():
            self._waiting.set()

    def drain(self) -> None:
        """Writes what was taken, now."""
        with self._lock:
            lines, self._lines = self._lines, []
            if lines:
                sys.stdout.write("".join(lines))
                sys.stdout.flush()

    def _start(self) -> None:
        # Not before the first line: a thread does not survive the fork of a process.
        atexit.register(self.drain)
        self._waiting.set()
        self._writer = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._writer.start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._waiting.wait()
            pause.wait(self._interval_s)
            self._waiting.clear()
            self.drain()


class LineLogger:
    """What structlog hands finished lines to; those from WARNING up are written at once, with all
    that wait before them.

    Args:
        output: where to.
    """

    def __init__(self, output: LineOutput) -> None:
        self._output = output

    def info(self, line: str) -> None:
        """Takes a line that may wait."""
        self._output.write(line + "\n")
        self._output.flush()

    def error(self, line: str) -> None:
        """Writes a line."""
        self._output.write(line + "\n")
        self._output.drain()

    debug = info
    warning = critical = error
