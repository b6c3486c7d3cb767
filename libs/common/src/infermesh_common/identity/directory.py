"""The identity snapshot in force, and the check of a caller against it."""

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infermesh.governance.v1 import identity_pb2
from infermesh_common.errors import PermissionDenied, Unauthenticated, Unavailable
from infermesh_common.identity.model import Identity, Role, hash_key, parse_key_id

INTERNAL_TOKEN_HEADER = "x-infermesh-internal-token"
TENANT_HEADER = "x-infermesh-tenant"
CLAIMED_TENANT_HEADER = "x-infermesh-claimed-tenant"
_KNOWN_ROLES = frozenset(role.value for role in Role)


@dataclass(frozen=True, slots=True)
class _KeyEntry:
    secret_sha256: bytes
    identity: Identity
    expires_at_s: float | None
    revoked: bool


class IdentityDirectory:
    """Verifies callers without a hop.

    Args:
        internal_token: shared secret by which services of the mesh know each other.
        max_age_s: a snapshot not confirmed for longer fails closed.
        monotonic: clock of ages, in seconds.
        now: clock of expiry, in seconds since the epoch.
    """

    def __init__(
        self,
        *,
        internal_token: str,
        max_age_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not internal_token:
            raise ValueError("an empty internal token would let everybody in")
        self._internal_token = internal_token.encode()
        self._max_age_s = max_age_s
        self._monotonic = monotonic
        self._now = now
        self._keys: dict[str, _KeyEntry] = {}
        self._suspended: dict[str, bool] = {}
        self._confirmed_at: float | None = None
        self.version = 0

    def apply(self, message: identity_pb2.WatchIdentitiesResponse) -> None:
        """Takes a pushed snapshot or heartbeat over.

        Keys of a role that this version does not know are left out: they cannot be used.
        """
        if message.HasField("snapshot"):
            self._keys = {
                record.key_id: _entry(record)
                for record in message.snapshot.keys
                if record.role in _KNOWN_ROLES
            }
            self._suspended = {t.tenant: t.suspended for t in message.snapshot.tenants}
            self.version = message.version
        elif self._confirmed_at is None:
            return  # there is nothing yet that it could confirm
        if message.version == self.version:
            staleness_s = message.staleness.ToMicroseconds() / 1_000_000
            self._confirmed_at = self._monotonic() - staleness_s

    def age_s(self) -> float:
        """Seconds since governance confirmed the snapshot with its store; infinite without one."""
        if self._confirmed_at is None:
            return float("inf")
        return self._monotonic() - self._confirmed_at

    def is_fresh(self) -> bool:
        """Whether callers can be verified at all."""
        return self.age_s() <= self._max_age_s

    def authenticate(self, metadata: Mapping[str, str]) -> Identity:
        """Verifies the caller that sent `metadata`.

        Raises:
            Unauthenticated: no key, or a wrong, expired or revoked one.
            PermissionDenied: the tenant is suspended or unknown, or the caller claims another's.
            Unavailable: the snapshot is too old to trust.
        """
        if (token := metadata.get(INTERNAL_TOKEN_HEADER)) is not None:
            if not hmac.compare_digest(token.encode(), self._internal_token):
                raise Unauthenticated("INVALID_INTERNAL_TOKEN", "The internal token is wrong.")
            return Identity(metadata.get(TENANT_HEADER, ""), "internal", Role.SERVICE)
        identity = self._verify(_bearer(metadata))
        self._check_tenant(identity, metadata)
        return identity

    def _verify(self, api_key: str) -> Identity:
        if not self.is_fresh():
            raise Unavailable(
                "IDENTITY_SNAPSHOT_STALE",
                "API keys cannot be verified at the moment.",
                retry_after_s=1,
            )
        key_id = parse_key_id(api_key)
        entry = self._keys.get(key_id) if key_id else None
        if entry is None or not hmac.compare_digest(hash_key(api_key), entry.secret_sha256):
            raise Unauthenticated("INVALID_API_KEY", "Incorrect API key provided.")
        if entry.revoked:
            raise Unauthenticated("API_KEY_REVOKED", "This API key has been revoked.")
        if entry.expires_at_s is not None and self._now() >= entry.expires_at_s:
            raise Unauthenticated("API_KEY_EXPIRED", "This API key has expired.")
        return entry.identity

    def _check_tenant(self, identity: Identity, metadata: Mapping[str, str]) -> None:
        for header in (TENANT_HEADER, CLAIMED_TENANT_HEADER):
            if metadata.get(header, identity.tenant) != identity.tenant:
                raise PermissionDenied(
                    "TENANT_MISMATCH", "The API key does not belong to the tenant claimed."
                )
        if identity.role is Role.OPERATOR:
            return
        suspended = self._suspended.get(identity.tenant)
        if suspended is None:
            raise PermissionDenied("TENANT_UNKNOWN", "The tenant of this API key does not exist.")
        if suspended:
            raise PermissionDenied("TENANT_SUSPENDED", "This tenant is suspended.")


def _bearer(metadata: Mapping[str, str]) -> str:
    header = metadata.get("authorization")
    if header is not None:
        scheme, _, key = header.partition(" ")
        if scheme.lower() == "bearer" and key:
            return key.strip()
        raise Unauthenticated(
            "INVALID_AUTHORIZATION", "The authorization header must be 'Bearer <API key>'."
        )
    if api_key := metadata.get("x-api-key"):
        return api_key
    raise Unauthenticated(
        "API_KEY_MISSING", "Provide an API key in the authorization header: 'Bearer <API key>'."
    )


def _entry(record: identity_pb2.KeyRecord) -> _KeyEntry:
    expires = record.expire_time.ToMicroseconds() / 1e6 if record.HasField("expire_time") else None
    return _KeyEntry(
        secret_sha256=record.secret_sha256,
        identity=Identity(record.tenant, record.key_id, Role(record.role), record.team),
        expires_at_s=expires,
        revoked=record.revoked,
    )
