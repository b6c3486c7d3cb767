"""Reads the log files of the processes, while the supervisor writes and turns them over."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_BLOCK_BYTES = 65536
_POLL_S = 0.2


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file, oldest first; none when there is no file."""
    return LogTail(path).begin(count)


class LogTail:
    """Reads on where it stopped, also when the file was turned over in between.

    Args:
        path: the log file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._offset = 0
        self._begun = b""

    def begin(self, count: int) -> list[str]:
        """The last `count` lines; `more` goes on behind them."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                start, held = size, b""
                # One line break more than lines, as the last line ends with one too.
                while start > 0 and held.count(b"\n") <= count:
                    start = max(0, start - _BLOCK_BYTES)
                    file.seek(start)
                    held = file.read(size - start)
                self._inode = os.fstat(file.fileno()).st_ino
                self._offset = size
        except FileNotFoundError:
            return []
        lines = held.splitlines()
        return [_text(line) for line in lines[max(0, len(lines) - count) :]] if count else []

    def more(self) -> list[str]:
        """Lines that were completed since the last call."""
        fresh = b""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    fresh = self._rest_of_turned_over()
                    self._inode, self._offset = status.st_ino, 0
                file.seek(self._offset)
                found = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(found)
        *whole, self._begun = (self._begun + fresh + found).split(b"\n")
        return [_text(line) for line in whole]

    def _rest_of_turned_over(self) -> bytes:
        """What was written to the old file after the last look at it."""
        try:
            with self._path.with_name(f"{self._path.name}.1").open("rb") as file:
                if os.fstat(file.fileno()).st_ino != self._inode:
                    return b""
                file.seek(self._offset)
                return file.read()
        except FileNotFoundError:
            return b""


def read_logs(
    paths: Mapping[str, Path], lines: int, follow: Callable[[], bool] | None
) -> Iterator[str]:
    """Lines of several logs.

    Args:
        paths: log file by process name. Of several, each line begins with the name.
        lines: how many to begin with, of each.
        follow: goes on with new lines while it returns true; None to end at once.
    """
    width = max((len(name) for name in paths), default=0)
    tails = {name: LogTail(path) for name, path in paths.items()}

    def labelled(name: str, found: list[str]) -> Iterator[str]:
        return (f"{name:<{width}} | {line}" if len(paths) > 1 else line for line in found)

    for name, tail in tails.items():
        yield from labelled(name, tail.begin(lines))
    while follow is not None:
        # Asked before reading, so that what was written last is read once more.
        going_on = follow()
        for name, tail in tails.items():
            yield from labelled(name, tail.more())
        if not going_on:
            return
        time.sleep(_POLL_S)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
