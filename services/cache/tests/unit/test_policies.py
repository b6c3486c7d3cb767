"""Rules of tenants, and what they allow."""

from pathlib import Path

import pytest
import yaml

from infermesh_cache.adapters.outbound.resource_policies import ResourcePolicies, rules_from
from infermesh_cache.domain.policy import CacheRules
from infermesh_common.errors import FailedPrecondition
from infermesh_common.resources.store import ResourceStore
from infermesh_common.resources.types import CachePolicySpec, SemanticCategorySpec, SemanticSpec
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.resources import Document, resource

RULES = CacheRules(
    enabled=True,
    longest_ttl_ms=60_000,
    max_entry_bytes=100,
    max_tenant_bytes=1000,
    single_flight=True,
    longest_wait_ms=500,
    epoch=3,
)


def test_the_policy_bounds_what_is_asked() -> None:
    assert [RULES.keep_ms(asked) for asked in (1, 60_000, 60_001)] == [1, 60_000, 60_000]
    assert [RULES.wait_ms(asked) for asked in (0, 500, 501)] == [0, 500, 500]
    assert [RULES.objection(size) for size in (100, 101)] == [None, "TOO_LARGE"]
    assert [RULES.too_large_as_stored(size) for size in (1000, 1001)] == [False, True]


def test_every_field_of_the_resource_counts() -> None:
    spec = CachePolicySpec(
        enabled=True,
        ttl_seconds=60,
        max_entry_bytes=100,
        max_tenant_bytes=1000,
        single_flight=True,
        single_flight_wait_ms=500,
        epoch=3,
    )
    assert rules_from(spec) == RULES
    assert rules_from(spec.model_copy(update={"enabled": False})).objection(1) == "DISABLED"


def test_a_category_has_the_bounds_it_names_and_the_policy_s_otherwise() -> None:
    quiz = SemanticCategorySpec(delta=0.02, ttl_seconds=30, max_entries=5)
    spec = SemanticSpec(enabled=True, delta=0.01, categories={"quiz": quiz})
    semantic = rules_from(CachePolicySpec(ttl_seconds=60, semantic=spec)).semantic
    assert semantic is not None
    named, other = semantic.category_of("quiz"), semantic.category_of("chat")
    assert (named.name, named.delta, named.ttl_ms) == ("quiz", 0.02, 30_000)
    assert (other.name, other.delta, other.ttl_ms) == ("general", 0.01, 60_000)
    bounds = [semantic.max_entries_of(name) for name in ("quiz", "general", "gone")]
    assert bounds == [5, None, None]


def test_policies_follow_the_resources(tmp_path: Path, metrics: Metrics) -> None:
    def write(*documents: Document) -> None:
        routes = resource("RoutePolicy", "default")
        (tmp_path / "all.yaml").write_text(yaml.safe_dump_all([routes, *documents]))
        store.load()

    store = ResourceStore(tmp_path, metrics)
    policies = ResourcePolicies(store)
    acme = resource("Tenant", "acme", cachePolicy="short")
    write(acme, resource("CachePolicy", "short", ttlSeconds=1))
    assert policies.rules_of("acme").longest_ttl_ms == 1000
    write(acme, resource("CachePolicy", "short", ttlSeconds=2))
    assert policies.rules_of("acme").longest_ttl_ms == 2000
    assert list(policies.tenants()) == ["acme"]
    write()
    with pytest.raises(FailedPrecondition) as error:
        policies.rules_of("acme")
    assert error.value.reason == "TENANT_UNKNOWN"
    # Its entries are still to be cleared away.
    assert policies.tenants() == {"acme": None}
