"""One command at a time starts or stops a mesh."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from infermesh_local.errors import Busy
from infermesh_local.layout import StateLayout

_POLL_S = 0.1


@contextmanager
def exclusive(layout: StateLayout, wait_s: float = 0.0) -> Iterator[None]:
    """Holds the lock of a state folder; the operating system gives it back if we are killed.

    Args:
        layout: of the state folder.
        wait_s: how long to wait for another command to be done.

    Raises:
        Busy: another command holds it.
    """
    deadline = time.monotonic() + wait_s
    with layout.lock_file.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise Busy(layout.root) from error
                time.sleep(_POLL_S)
        yield
