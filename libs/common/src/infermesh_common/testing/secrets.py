"""A source of secrets for tests, which says what the test tells it to."""

import asyncio
from collections.abc import Mapping

from infermesh_common.resources.types import SecretRef
from infermesh_common.secrets.faults import Fault, Reason
from infermesh_common.secrets.held import HeldSecret


class ScriptedSource:
    """Implements `SecretSource`.

    Args:
        name: "kubernetes" or "vault".

    Attributes:
        held: what is followed.
    """

    def __init__(self, name: str = "vault") -> None:
        self.name = name
        self.held: Mapping[SecretRef, HeldSecret] = {}

    def follow(self, held: Mapping[SecretRef, HeldSecret]) -> None:
        """See `SecretSource`."""
        self.held = held

    async def run(self) -> None:
        """See `SecretSource`."""
        await asyncio.Event().wait()

    def put(self, ref: SecretRef, text: str) -> None:
        """The secret is `text`."""
        self.held[ref].put(text)

    def fail(self, ref: SecretRef, reason: Reason = Reason.VAULT_SEALED) -> None:
        """The source cannot be read."""
        self.held[ref].fail(Fault(reason, "Vault is sealed."))
