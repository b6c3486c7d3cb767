"""Policies out of the resources."""

from infermesh_cache.domain.policy import CacheRules
from infermesh_cache.domain.semantic_policy import (
    GENERAL,
    CategoryRules,
    AnswerScope,
    SemanticRules,
)
from infermesh_common.errors import FailedPrecondition
from infermesh_common.resources.in_force import ResourcesInForce
from infermesh_common.resources.resource_set import ResourceSet
from infermesh_common.resources.types import CachePolicySpec, SemanticCategorySpec

_OVERLOOKED = {"numeric": 0.1, "embedding": 0.1}
"""Comparisons that can take a wrong answer for right; documented with the resource."""


def rules_from(spec: CachePolicySpec) -> CacheRules:
    """The rules that a CachePolicy resource states."""
    return CacheRules(
        enabled=spec.enabled,
        longest_ttl_ms=spec.ttl_seconds * 1000,
        max_entry_bytes=spec.max_entry_bytes,
        max_tenant_bytes=spec.max_tenant_bytes,
        single_flight=spec.single_flight,
        longest_wait_ms=spec.single_flight_wait_ms,
        epoch=spec.epoch,
        semantic=_semantic_rules(spec) if spec.enabled and spec.semantic.enabled else None,
    )


def _semantic_rules(spec: CachePolicySpec) -> SemanticRules:
    semantic = spec.semantic

    def category(name: str, own: SemanticCategorySpec) -> CategoryRules:
        ttl_s = own.ttl_seconds or semantic.ttl_seconds or spec.ttl_seconds
        return CategoryRules(
            name=name,
            delta=own.delta or semantic.delta,
            penalty_usd=semantic.penalty_usd if own.penalty_usd is None else own.penalty_usd,
            ttl_ms=min(ttl_s, spec.ttl_seconds) * 1000,
            max_entries=own.max_entries,
        )

    overlooked = semantic.overlooked
    if overlooked is None:
        overlooked = _OVERLOOKED.get(semantic.comparison, 0.0)
    return SemanticRules(
        confidence=semantic.confidence,
        audit_rate=semantic.audit_rate,
        scope=AnswerScope(semantic.scope),
        comparison=semantic.comparison,
        overlooked=overlooked,
        max_entries=semantic.max_entries,
        bind_history=semantic.bind_history,
        agreement=semantic.agreement,
        general=category(GENERAL, SemanticCategorySpec()),
        categories={name: category(name, own) for name, own in semantic.categories.items()},
    )


class ResourcePolicies:
    """Implements `Policies`; follows the resources as they change.

    Args:
        store: the resources in force.
    """

    def __init__(self, store: ResourcesInForce) -> None:
        self._rules: dict[str, CacheRules] = {}
        self._seen: set[str] = set()
        store.subscribe(self._take_over)

    def rules_of(self, tenant: str) -> CacheRules:
        """See `Policies.rules_of`."""
        rules = self._rules.get(tenant)
        if rules is None:
            raise FailedPrecondition(
                "TENANT_UNKNOWN", "No Tenant resource of that name is declared."
            )
        return rules

    def tenants(self) -> dict[str, CacheRules | None]:
        """See `Policies.tenants`."""
        return {tenant: self._rules.get(tenant) for tenant in sorted(self._seen)}

    def _take_over(self, resources: ResourceSet) -> None:
        policies = resources.cache_policies
        self._rules = {
            name: rules_from(policies[tenant.spec.cache_policy].spec)
            for name, tenant in resources.tenants.items()
        }
        self._seen |= self._rules.keys()
