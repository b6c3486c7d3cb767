"""Who may do what with which keys, and what a request for one must look like."""

import re
from collections.abc import Container
from dataclasses import dataclass, replace

from infermesh_common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from infermesh_common.identity.model import Identity, Role, is_team
from infermesh_governance.domain.keys import KeyRecord, Origin

LONGEST_DESCRIPTION_CHARS = 200
# 9999-12-31T23:59:59.999999Z, the end of what a protobuf Timestamp may hold.
_LAST_US = 253_402_300_799_999_999
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a caller asks CreateKey for.

    Attributes:
        request_id: UUID4 the caller chose.
        tenant: as asked for; empty means the caller's.
        role: as asked for.
        description: what the key is for.
        expires_us: end of the key, microseconds since the epoch; None for none.
        team: within the tenant; empty for none.
    """

    request_id: str
    tenant: str
    role: Role
    description: str
    expires_us: int | None
    team: str = ""


def validated(request: KeyRequest, now_us: int) -> KeyRequest:
    """The request in canonical form.

    Raises:
        InvalidArgument: it is wrong whoever asks.
    """
    request_id = request.request_id.lower()
    if not _UUID4.fullmatch(request_id):
        raise InvalidArgument(
            "REQUEST_ID_INVALID",
            "request_id must be a UUID4 that you choose anew for each key.",
            field="request_id",
        )
    if len(request.description) > LONGEST_DESCRIPTION_CHARS:
        raise InvalidArgument(
            "DESCRIPTION_TOO_LONG",
            f"description may have at most {LONGEST_DESCRIPTION_CHARS} characters.",
            field="description",
        )
    if request.expires_us is not None and not now_us < request.expires_us <= _LAST_US:
        raise wrong_expire_time()
    if request.role is Role.SERVICE:
        raise InvalidArgument(
            "ROLE_NOT_ISSUABLE",
            "No key has the role service: services know each other by the internal token.",
            field="role",
        )
    if not is_team(request.team):
        raise InvalidArgument(
            "TEAM_INVALID",
            "team may have lower-case letters, digits and, between them, hyphens; at most 63.",
            field="team",
        )
    if request.team and request.role is Role.OPERATOR:
        raise InvalidArgument(
            "TEAM_NOT_ALLOWED", "An operator's key belongs to no team.", field="team"
        )
    return replace(request, request_id=request_id)


def tenant_of_new_key(caller: Identity, request: KeyRequest, tenants: Container[str]) -> str:
    """The tenant that the key asked for will belong to; empty for an operator's key.

    Args:
        caller: an admin or an operator.
        request: validated.
        tenants: names of the tenants there are.

    Raises:
        PermissionDenied: an admin asks for another tenant's key, or for an operator's.
        InvalidArgument: an operator names no tenant for a tenant's key, or one for an operator's.
        NotFound: there is no such tenant.
    """
    if caller.role is not Role.OPERATOR:
        _check_own(caller, request.tenant)
        if request.role is Role.OPERATOR:
            raise PermissionDenied("ROLE_REQUIRED", "Only an operator may make an operator's key.")
        return caller.tenant
    if request.role is Role.OPERATOR:
        if request.tenant:
            raise InvalidArgument(
                "TENANT_NOT_ALLOWED", "An operator's key belongs to no tenant.", field="tenant"
            )
        return ""
    if not request.tenant:
        raise InvalidArgument(
            "TENANT_REQUIRED", "Name the tenant that the key is for.", field="tenant"
        )
    if request.tenant not in tenants:
        raise _no_such_tenant()
    return request.tenant


def tenant_to_list(caller: Identity, tenant: str, known: Container[str]) -> str | None:
    """The tenant whose keys the caller gets to see; None for everybody's.

    Args:
        caller: an admin or an operator.
        tenant: as asked for.
        known: names of the tenants that exist or have keys.

    Raises:
        PermissionDenied: an admin asks for another tenant's keys.
        NotFound: an operator asks for a tenant that does not exist.
    """
    if caller.role is not Role.OPERATOR:
        _check_own(caller, tenant)
        return caller.tenant
    if tenant and tenant not in known:
        raise _no_such_tenant()
    return tenant or None


def valid_key_id(key_id: str) -> str:
    """The key id itself.

    Raises:
        InvalidArgument: it is not one. The message does not repeat it: people paste whole keys.
    """
    if not _KEY_ID.fullmatch(key_id):
        raise InvalidArgument(
            "KEY_ID_INVALID",
            "key_id is the 16 hexadecimal digits between the underscores of the key.",
            field="key_id",
        )
    return key_id


def revocable(caller: Identity, record: KeyRecord | None) -> KeyRecord:
    """The key, when the caller may revoke it.

    Args:
        caller: an admin or an operator.
        record: the key of the id asked for, if there is one.

    Raises:
        NotFound: there is none, or it is another tenant's: an admin cannot tell the two apart.
        FailedPrecondition: the key was not issued by the API.
    """
    if record is None or (caller.role is not Role.OPERATOR and record.tenant != caller.tenant):
        raise no_such_key()
    if record.origin is Origin.DECLARED:
        raise FailedPrecondition(
            "KEY_IS_DECLARED",
            "This key is declared by an ApiKey resource: remove the resource or change its secret.",
        )
    if record.origin is Origin.BOOTSTRAP:
        raise FailedPrecondition(
            "KEY_IS_DECLARED",
            "This key stands in bootstrap_operator_key_file: change the file, or take the setting "
            "away and restart governance.",
        )
    return record


def wrong_expire_time() -> InvalidArgument:
    """The end asked for is past, or no time at all."""
    return InvalidArgument(
        "EXPIRE_TIME_INVALID",
        "expire_time must be in the future; leave it out for a key that does not expire.",
        field="expire_time",
    )


def no_such_key() -> NotFound:
    """The one answer for keys that do not exist and for those of others."""
    return NotFound("KEY_NOT_FOUND", "There is no such key.")


def _no_such_tenant() -> NotFound:
    return NotFound("TENANT_NOT_FOUND", "There is no such tenant: declare a Tenant resource first.")


def _check_own(caller: Identity, tenant: str) -> None:
    if tenant not in ("", caller.tenant):
        raise PermissionDenied("TENANT_MISMATCH", "An admin manages its own tenant's keys only.")
