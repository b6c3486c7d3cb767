"""Identities for tests, without a governance service."""

import secrets
from dataclasses import dataclass, field

from infermesh.governance.v1 import identity_pb2
from infermesh_common.identity.directory import IdentityDirectory
from infermesh_common.identity.model import Role, hash_key


def new_api_key() -> tuple[str, str]:
    """A fresh (key id, API key)."""
    key_id = secrets.token_hex(8)
    return key_id, f"im_{key_id}_{secrets.token_hex(32)}"


@dataclass
class FakeGovernance:
    """Pushes snapshots to an `IdentityDirectory` as governance would."""

    directory: IdentityDirectory
    records: dict[str, identity_pb2.KeyRecord] = field(default_factory=dict)
    suspended: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def create(cls, internal_token: str = "internal-token-for-tests") -> "FakeGovernance":
        """With an empty snapshot in force."""
        governance = cls(IdentityDirectory(internal_token=internal_token, max_age_s=10**9))
        governance.push()
        return governance

    def push(self) -> None:
        """Puts the present records in force."""
        self.directory.apply(
            identity_pb2.WatchIdentitiesResponse(
                version=self.directory.version + 1,
                snapshot=identity_pb2.IdentitySnapshot(
                    keys=self.records.values(),
                    tenants=[
                        identity_pb2.TenantRecord(tenant=name, suspended=suspended)
                        for name, suspended in self.suspended.items()
                    ],
                ),
            )
        )

    def issue(self, tenant: str, role: Role = Role.MEMBER, *, team: str = "") -> str:
        """An API key of `tenant`, in force at once."""
        key_id, api_key = new_api_key()
        self.records[key_id] = identity_pb2.KeyRecord(
            key_id=key_id,
            secret_sha256=hash_key(api_key),
            tenant=tenant,
            role=role.value,
            team=team,
        )
        if tenant:
            self.suspended.setdefault(tenant, False)
        self.push()
        return api_key

    def revoke(self, api_key: str) -> None:
        """Revokes a key, in force at once."""
        self.records[api_key.split("_")[1]].revoked = True
        self.push()


def bearer(api_key: str) -> tuple[tuple[str, str], ...]:
    """gRPC metadata of a caller with that key."""
    return (("authorization", f"Bearer {api_key}"),)
