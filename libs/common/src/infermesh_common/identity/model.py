"""The verified caller."""

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum

from infermesh.governance.v1 import keys_pb2

TEAM = r"([a-z0-9]([-a-z0-9]*[a-z0-9])?)?"
"""Regular expression of the whole name of a team; empty: none."""
LONGEST_TEAM_CHARS = 63
_KEY = re.compile(r"im_([0-9a-f]{16})_[A-Za-z0-9-]{20,100}", re.ASCII)


class Role(IntEnum):
    """What a caller may do; numbers are those of `infermesh.governance.v1.Role`."""

    MEMBER = keys_pb2.ROLE_MEMBER
    ADMIN = keys_pb2.ROLE_ADMIN
    OPERATOR = keys_pb2.ROLE_OPERATOR
    SERVICE = keys_pb2.ROLE_SERVICE


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified caller.

    Attributes:
        tenant: name of the tenant; empty for operators and services acting for no tenant.
        key_id: public part of the key; "internal" for services.
        role: what the caller may do.
        team: of the key within its tenant; empty when it has none.
    """

    tenant: str
    key_id: str
    role: Role
    team: str = ""


def is_team(name: str) -> bool:
    """Whether a team may be called so; empty: none is meant."""
    return len(name) <= LONGEST_TEAM_CHARS and re.fullmatch(TEAM, name) is not None


def parse_key_id(api_key: str) -> str | None:
    """The key id inside an API key `im_<16 hex>_<secret>`; None when it is not of that form."""
    match = _KEY.fullmatch(api_key)
    return match.group(1) if match else None


def hash_key(api_key: str) -> bytes:
    """SHA-256 of the whole key, 32 bytes.

    A plain hash is enough: the secret is 256 random bits, so there is nothing to guess.
    """
    return hashlib.sha256(api_key.encode()).digest()
