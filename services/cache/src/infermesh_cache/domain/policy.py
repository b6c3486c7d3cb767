"""What a tenant's policy lets the cache do."""

from dataclasses import dataclass

from infermesh_cache.domain.semantic_policy import SemanticRules

STORE_TOO_LARGE = "TOO_LARGE"
"""Reason of a refused store: the entry is larger than the policy allows."""
STORE_DISABLED = "DISABLED"
"""Reason of a refused store: the policy switches caching off."""


@dataclass(frozen=True, slots=True)
class CacheRules:
    """The policy of one tenant.

    Attributes:
        enabled: whether anything is looked up or stored.
        longest_ttl_ms: no entry is kept longer.
        max_entry_bytes: larger answers are not stored.
        max_tenant_bytes: above it, what was used least recently goes.
        single_flight: whether identical requests may wait for one another.
        longest_wait_ms: how long at most.
        epoch: entries of another epoch are out of reach.
        semantic: what the semantic tier may do; None: nothing.
    """

    enabled: bool
    longest_ttl_ms: int
    max_entry_bytes: int
    max_tenant_bytes: int
    single_flight: bool
    longest_wait_ms: int
    epoch: int
    semantic: SemanticRules | None = None

    def keep_ms(self, asked_ms: int) -> int:
        """How long an entry is kept for which `asked_ms` (> 0) were asked."""
        return min(asked_ms, self.longest_ttl_ms)

    def wait_ms(self, asked_ms: int) -> int:
        """How long a request waits that would wait for `asked_ms`."""
        return min(asked_ms, self.longest_wait_ms)

    def objection(self, body_bytes: int) -> str | None:
        """Why an answer of that size may not be stored; None when it may."""
        if not self.enabled:
            return STORE_DISABLED
        if body_bytes > self.max_entry_bytes:
            return STORE_TOO_LARGE
        return None

    def too_large_as_stored(self, stored_bytes: int) -> bool:
        """Whether it would not fit even if it were the tenant's only entry."""
        return stored_bytes > self.max_tenant_bytes
