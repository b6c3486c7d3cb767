"""What may be wrong with a secret, in words that tell what to do and never hold a secret."""

from dataclasses import dataclass, replace
from enum import StrEnum

from infermesh_common.resources.types import SecretRef


class Reason(StrEnum):
    """Kinds of faults, as the status of a resource states them."""

    NOT_READ = "SecretNotRead"
    MISSING = "SecretMissing"
    UNREADABLE = "SecretUnreadable"
    EMPTY = "SecretEmpty"
    INVALID = "SecretInvalid"
    KUBERNETES_NOT_CONFIGURED = "KubernetesNotConfigured"
    KUBERNETES_UNAVAILABLE = "KubernetesUnavailable"
    KUBERNETES_DENIED = "KubernetesDenied"
    VAULT_NOT_CONFIGURED = "VaultNotConfigured"
    VAULT_UNAVAILABLE = "VaultUnavailable"
    VAULT_SEALED = "VaultSealed"
    VAULT_LOGIN_REFUSED = "VaultLoginRefused"
    VAULT_DENIED = "VaultDenied"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a secret cannot be read.

    Attributes:
        reason: CamelCase, one of `Reason`.
        message: for people.
        in_use: whether the value that was read last is still used.
    """

    reason: str
    message: str
    in_use: bool = False


class SecretError(Exception):
    """A secret cannot be had.

    Attributes:
        fault: why.
        expired: it was there, and its source could not be read for too long since.
    """

    def __init__(self, fault: Fault, *, expired: bool = False) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.expired = expired


def kept(found: Fault) -> Fault:
    """`found`, where the value that was read last is still used."""
    return replace(found, message=f"{found.message} The value read last is in use.", in_use=True)


def expired(found: Fault) -> Fault:
    """`found`, where the value that was read last has become too old."""
    after = "The value read last is too old to be used (secrets.stale_after_ms)."
    return replace(found, message=f"{found.message} {after}")


def where(ref: SecretRef) -> str:
    """Where a reference leads, for people."""
    if ref.secret is not None:
        return f"key {ref.secret.key} of the Kubernetes Secret {ref.secret.name}"
    if ref.vault is not None:
        return f"key {ref.vault.key} of {ref.vault.path} in Vault"
    return f"secret file {ref.file}"
