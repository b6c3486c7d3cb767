"""Names under which entries and flights are kept: no two tenants share one.

A tenant's keys all begin with `<tenant>:cache:`. A tenant name is a resource name, which holds no
colon, so that neither prefix of two tenants is the beginning of the other.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from infermesh_common.errors import FailedPrecondition, InvalidArgument

FINGERPRINT_BYTES = 32
"""Length of a fingerprint: SHA-256."""

# The name pattern of resources, infermesh_common.resources.types.Name.
_TENANT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def check_tenant(tenant: str) -> str:
    """`tenant`, when it can be the beginning of a key.

    Raises:
        FailedPrecondition: TENANT_REQUIRED, the caller acts for no tenant.
        InvalidArgument: TENANT_INVALID, it is not a resource name.
    """
    if not tenant:
        raise FailedPrecondition(
            "TENANT_REQUIRED", "The cache belongs to tenants and the caller acts for none."
        )
    if not _TENANT.fullmatch(tenant):
        raise InvalidArgument("TENANT_INVALID", "The tenant is not a valid resource name.")
    return tenant


def tenant_prefix(tenant: str) -> str:
    """What every key of `tenant` begins with; errors as `check_tenant`."""
    return f"{check_tenant(tenant)}:cache:"


@dataclass(frozen=True)
class Slot:
    """Where the answer of one request is kept.

    Attributes:
        tenant: whose it is.
        epoch: the tenant's cache epoch; entries of another epoch are out of reach.
        fingerprint: of the request, 32 bytes.
    """

    tenant: str
    epoch: int
    fingerprint: bytes

    def __post_init__(self) -> None:
        check_tenant(self.tenant)
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise InvalidArgument(
                "FINGERPRINT_INVALID",
                f"A fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.fingerprint)}.",
                field="fingerprint",
            )

    @cached_property
    def prefix(self) -> str:
        """What every key of the tenant begins with."""
        return tenant_prefix(self.tenant)

    @cached_property
    def member(self) -> str:
        """Name of the slot within its tenant."""
        return f"{self.epoch}:{self.fingerprint.hex()}"

    @cached_property
    def entry_key(self) -> str:
        """Key of the entry."""
        return f"{self.prefix}entry:{self.member}"

    @cached_property
    def lease_key(self) -> str:
        """Key of the lease of a flight; also the flight's name when it is announced."""
        return f"{self.prefix}lease:{self.member}"
