"""Secrets in files."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from infermesh_common.secrets.faults import Fault, Reason, SecretError

_Signature = tuple[int, int, int]
_LOOK_EVERY_S = 0.1


class SecretFile:
    """A secret that is read again when its file has changed.

    Every call of a provider asks for it. Reading the file each time would cost a call a tenth more,
    and looking whether it has changed a thirtieth: so that is done once in a while.

    Args:
        path: of the file; a link may lead to another one later, as in mounted Secrets.
        failed: called with the reason whenever it cannot be read.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        path: Path,
        failed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._failed = failed
        self._clock = clock
        self._text = ""
        self._signature: _Signature | None = None
        self._look_at = 0.0

    def read(self) -> str:
        """The secret, as it was a tenth of a second ago or later.

        Raises:
            SecretError: the file cannot be read or is empty.
        """
        now = self._clock()
        if now < self._look_at and self._signature is not None:
            return self._text
        signature = self._now()
        if signature is None or signature != self._signature:
            self._read(signature)
        self._look_at = now + _LOOK_EVERY_S
        return self._text

    def look(self) -> str:
        """The secret as it is now; raises as `read`."""
        # Written in place twice in a moment, a file may look the same.
        self._read(self._now())
        return self._text

    def differs(self, text: str) -> bool:
        """Whether the file holds another secret than `text`; not when it cannot be read."""
        if self._now() != self._signature:
            try:
                self._read(self._now())
            except SecretError:
                return False
        return self._text != text

    @property
    def fault(self) -> Fault | None:
        """What is wrong with the file at the moment."""
        try:
            self.look()
        except SecretError as error:
            return error.fault
        return None

    def _read(self, signature: _Signature | None) -> None:
        self._signature = None
        try:
            self._text = _content(self._path)
        except SecretError as error:
            self._failed(error.fault.reason)
            raise
        self._signature = signature

    def _now(self) -> _Signature | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def _content(path: Path) -> str:
    try:
        text = path.read_text("utf-8").strip()
    except FileNotFoundError as error:
        said = f"The secret file {path} cannot be read: {error.strerror}."
        raise SecretError(Fault(Reason.MISSING, said)) from None
    except OSError as error:
        said = f"The secret file {path} cannot be read: {error.strerror}."
        raise SecretError(Fault(Reason.UNREADABLE, said)) from None
    except UnicodeDecodeError:
        raise SecretError(Fault(Reason.INVALID, f"The secret file {path} is not UTF-8.")) from None
    if not text:
        raise SecretError(Fault(Reason.EMPTY, f"The secret file {path} is empty."))
    return text
