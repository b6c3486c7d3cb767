"""Who may call, as of one moment."""

from collections.abc import Mapping
from dataclasses import dataclass

from infermesh_governance.domain.keys import KeyRecord, KeyState


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as its resource declares it.

    Attributes:
        name: of the resource.
        display_name: for people.
        suspended: all its calls are refused.
    """

    name: str
    display_name: str
    suspended: bool


@dataclass(frozen=True)
class Snapshot:
    """Every key and every tenant; never changed, only replaced.

    Attributes:
        keys: by key id.
        tenants: by name.
    """

    keys: Mapping[str, KeyRecord]
    tenants: Mapping[str, Tenant]

    def count(self, state: KeyState, now_us: int) -> int:
        """Number of keys in that state."""
        return sum(record.state(now_us) is state for record in self.keys.values())


def compose(
    issued: Mapping[str, KeyRecord],
    declared: Mapping[str, KeyRecord],
    tenants: Mapping[str, Tenant],
) -> Snapshot:
    """The snapshot of what was issued and what is declared.

    A key that is both counts as issued. Otherwise declaring a revoked key would bring it back, and
    RevokeKey could not end it.
    """
    return Snapshot({**declared, **issued}, dict(tenants))
