"""Domain objects as messages, and requests as domain objects."""

from google.protobuf import timestamp_pb2

from infermesh.common.v1 import page_pb2
from infermesh.governance.v1 import identity_pb2, keys_pb2, tenants_pb2
from infermesh_common.errors import InvalidArgument
from infermesh_common.identity.model import Role
from infermesh_governance.domain import rules
from infermesh_governance.domain.keys import KeyRecord
from infermesh_governance.domain.pages import PageRequest
from infermesh_governance.domain.snapshot import Snapshot, Tenant


def key_request(message: keys_pb2.CreateKeyRequest) -> rules.KeyRequest:
    """What CreateKey was asked for.

    Raises:
        InvalidArgument: the role is not one that this version knows, or expire_time is no time.
    """
    try:
        role = Role(message.role or keys_pb2.ROLE_MEMBER)
    except ValueError as error:
        raise InvalidArgument("ROLE_UNKNOWN", "There is no such role.", field="role") from error
    try:
        has_end = message.HasField("expire_time")
        expires_us = message.expire_time.ToMicroseconds() if has_end else None
    except ValueError as error:
        raise rules.wrong_expire_time() from error
    return rules.KeyRequest(
        request_id=message.request_id,
        tenant=message.tenant,
        role=role,
        description=message.description,
        expires_us=expires_us,
        team=message.team,
    )


def page_request(message: page_pb2.PageRequest) -> PageRequest:
    """Which page was asked for."""
    return PageRequest(message.page_size, message.page_token)


def key_message(record: KeyRecord) -> keys_pb2.Key:
    """A key as it may be shown."""
    return keys_pb2.Key(
        key_id=record.key_id,
        tenant=record.tenant,
        role=keys_pb2.Role.ValueType(record.role.value),
        description=record.description,
        create_time=_timestamp(record.created_us),
        expire_time=_timestamp(record.expires_us),
        revoke_time=_timestamp(record.revoked_us),
        team=record.team,
    )


def tenant_message(tenant: Tenant) -> tenants_pb2.Tenant:
    """A tenant as it may be shown."""
    return tenants_pb2.Tenant(
        name=tenant.name, display_name=tenant.display_name, suspended=tenant.suspended
    )


def snapshot_message(snapshot: Snapshot) -> identity_pb2.IdentitySnapshot:
    """A snapshot as the enforcing services need it."""
    return identity_pb2.IdentitySnapshot(
        keys=[
            identity_pb2.KeyRecord(
                key_id=record.key_id,
                secret_sha256=record.secret_sha256,
                tenant=record.tenant,
                role=keys_pb2.Role.ValueType(record.role.value),
                expire_time=_timestamp(record.expires_us),
                revoked=record.revoked_us is not None,
                team=record.team,
            )
            for record in snapshot.keys.values()
        ],
        tenants=[
            identity_pb2.TenantRecord(tenant=tenant.name, suspended=tenant.suspended)
            for tenant in snapshot.tenants.values()
        ],
    )


def _timestamp(time_us: int | None) -> timestamp_pb2.Timestamp | None:
    if time_us is None:
        return None
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromMicroseconds(time_us)
    return timestamp
