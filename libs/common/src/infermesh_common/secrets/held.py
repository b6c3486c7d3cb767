"""What is known of a secret whose source is not at hand."""

import asyncio
import time
from collections.abc import Callable

import structlog

from infermesh_common.secrets import faults
from infermesh_common.secrets.faults import Fault, Reason, SecretError

_log = structlog.get_logger(__name__)


class HeldSecret:
    """A secret as its source told it last.

    It is used while the source confirms it, and for a while when the source cannot be read: a Vault
    that is sealed for an hour must not stop the mesh. Then it is used no more.

    Args:
        where: where it stands, for people.
        stale_after_s: for how long it is used since it was confirmed last.
        failed: called with the reason whenever the source could not be read.
        clock: seconds that only grow.

    Attributes:
        looked: set when the source has been asked once, whatever came of it.
    """

    def __init__(
        self,
        where: str,
        *,
        stale_after_s: float,
        failed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.looked = asyncio.Event()
        self._where = where
        self._stale_after_s = stale_after_s
        self._failed = failed
        self._clock = clock
        self._text = ""
        self._confirmed_at: float | None = None
        self._usable_until = float("-inf")
        self._fault: Fault | None = Fault(Reason.NOT_READ, f"The {where} has not been read yet.")

    def put(self, text: str, *, age_s: float = 0.0, version: int | None = None) -> None:
        """The source holds `text`.

        White space around a secret is not part of it.

        Args:
            text: the secret.
            age_s: seconds since the source said so.
            version: of it, where the source counts.
        """
        text = text.strip()
        if not text:
            self.fail(Fault(Reason.EMPTY, f"The {self._where} is empty."))
            return
        if self._confirmed_at is not None and text != self._text:
            _log.info("secret_rotated", where=self._where, version=version)
        if self._fault is not None and self.looked.is_set():
            _log.info("secret_fault_ended", where=self._where)
        self._text = text
        self._confirmed_at = self._clock() - age_s
        self._usable_until = self._confirmed_at + self._stale_after_s
        self._fault = None
        self.looked.set()

    def fail(self, found: Fault) -> None:
        """The source could not be read, or does not hold the secret."""
        self._failed(found.reason)
        if self._fault is None or self._fault.reason != found.reason:
            _log.warning(
                "secret_unreadable", where=self._where, reason=found.reason, error=found.message
            )
        self._fault = found
        self.looked.set()

    def read(self) -> str:
        """The secret.

        Raises:
            SecretError: it was never read, or its source could not be read for too long.
        """
        if self._clock() < self._usable_until:
            return self._text
        if self._confirmed_at is None:
            assert self._fault is not None
            raise SecretError(self._fault)
        raise SecretError(faults.expired(self._fault or self._unconfirmed()), expired=True)

    look = read
    """Its source tells by itself when it changes."""

    def differs(self, text: str) -> bool:
        """Whether the secret in use is another one than `text`."""
        return self._clock() < self._usable_until and self._text != text

    @property
    def fault(self) -> Fault | None:
        """What is wrong with the source, or with what it holds."""
        if self._clock() < self._usable_until:
            return faults.kept(self._fault) if self._fault else None
        if self._confirmed_at is None:
            return self._fault
        return faults.expired(self._fault or self._unconfirmed())

    def age_s(self) -> float | None:
        """Seconds since the source confirmed it last; None when it never did."""
        return None if self._confirmed_at is None else self._clock() - self._confirmed_at

    def _unconfirmed(self) -> Fault:
        return Fault(Reason.UNREADABLE, f"The {self._where} has not been confirmed for long.")
