"""API keys: how they are made and what state they are in.

Times are microseconds since the epoch, as integers: they survive every store unrounded.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from infermesh_common.identity.model import Role

# Base 62: URL-safe, and without the underscore that separates the parts of a key.
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_BITS = 256
# 62 ** 43 > 2 ** 256 > 62 ** 42
_SECRET_CHARS = 43
_KEY_ID_BYTES = 8


class Origin(Enum):
    """Where a key is from, which decides how it can be withdrawn."""

    ISSUED = "issued"
    """Made by CreateKey; revoked by RevokeKey."""
    DECLARED = "declared"
    """An ApiKey resource; withdrawn with the resource."""
    BOOTSTRAP = "bootstrap"
    """The operator key of the settings; withdrawn with its file."""


class KeyState(Enum):
    """What becomes of a call with the key."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One API key without its secret.

    Attributes:
        key_id: public part, 16 lower-case hexadecimal digits.
        secret_sha256: SHA-256 of the whole key, 32 bytes.
        tenant: whose key it is; empty for an operator's.
        role: what its bearer may do.
        description: what it is for, in its maker's words.
        created_us: when it was made; None when that is not known (declared keys).
        expires_us: when it ends; None when it does not.
        revoked_us: when it was revoked; None when it was not.
        origin: where it is from.
        team: within the tenant; empty for none.
    """

    key_id: str
    secret_sha256: bytes
    tenant: str
    role: Role
    description: str = ""
    created_us: int | None = None
    expires_us: int | None = None
    revoked_us: int | None = None
    origin: Origin = Origin.ISSUED
    team: str = ""

    def state(self, now_us: int) -> KeyState:
        """State at that time; revocation outweighs expiry."""
        if self.revoked_us is not None:
            return KeyState.REVOKED
        if self.expires_us is not None and now_us >= self.expires_us:
            return KeyState.EXPIRED
        return KeyState.ACTIVE

    def ended_us(self) -> int | None:
        """When it stopped or will stop working; None when no end is known."""
        ends = [end for end in (self.expires_us, self.revoked_us) if end is not None]
        return min(ends) if ends else None


def is_forgettable(record: KeyRecord, *, now_us: int, forget_after_us: int) -> bool:
    """Whether the key has been dead for so long that nobody needs to be told why any more."""
    ended_us = record.ended_us()
    return ended_us is not None and now_us >= ended_us + forget_after_us


def new_api_key(random_bits: Callable[[int], int] = secrets.randbits) -> tuple[str, str]:
    """A fresh (key id, API key `im_<key id>_<secret>`); the secret is 256 random bits.

    Args:
        random_bits: a cryptographic source of that many bits.
    """
    key_id = f"{random_bits(_KEY_ID_BYTES * 8):0{_KEY_ID_BYTES * 2}x}"
    number = random_bits(_SECRET_BITS)
    digits = []
    for _ in range(_SECRET_CHARS):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return key_id, f"im_{key_id}_{''.join(digits)}"
