"""A new set replaces the old one as a whole, and nothing invalid takes something valid away."""

import copy
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infermesh_common.resources.resource_set import ResourceSet, build
from infermesh_common.testing.resources import Document, model, resource

PROVIDER = resource("Provider", "main", baseUrl="https://example.test/v1")
ROUTE = resource("RoutePolicy", "default")
CACHE = resource("CachePolicy", "default")
TENANT = resource("Tenant", "acme", displayName="one")
KEY = resource("ApiKey", "ci", tenant="acme", secretRef={"file": "/run/key"})
VALID = [PROVIDER, model("m"), ROUTE, CACHE, TENANT, KEY]
NOTHING = ResourceSet()
Named = tuple[str, Document]


def placed(*documents: Document, where: str = "a.yaml") -> list[Named]:
    return [(where, document) for document in documents]


def replaced(old: Document, new: object) -> list[Document]:
    return [cast(Document, new) if document is old else document for document in VALID]


def changed(document: Document, **spec: object) -> Document:
    other = copy.deepcopy(document)
    old = other["spec"]
    assert isinstance(old, dict)
    other["spec"] = {**old, **spec}
    return other


def names(built: ResourceSet) -> list[tuple[str, str]]:
    return sorted(built.by_key)


IN_FORCE = build(placed(*VALID), NOTHING)


def test_what_is_declared_is_in_force_under_its_kind_and_name() -> None:
    assert IN_FORCE.faults == () and len(IN_FORCE.by_key) == 6
    assert list(IN_FORCE.providers) == ["main"] and list(IN_FORCE.models) == ["m"]
    assert list(IN_FORCE.route_policies) == ["default"]
    assert list(IN_FORCE.cache_policies) == ["default"]
    assert IN_FORCE.tenants["acme"].spec.display_name == "one"
    assert IN_FORCE.api_keys["ci"].spec.tenant == "acme"
    assert IN_FORCE.origins == dict.fromkeys(IN_FORCE.by_key, "a.yaml")


def test_a_valid_change_replaces_and_a_removal_removes() -> None:
    other = build(placed(*replaced(TENANT, changed(TENANT, displayName="two"))), IN_FORCE)
    assert other.tenants["acme"].spec.display_name == "two" and other.faults == ()
    without_key = build(placed(*VALID[:-1]), IN_FORCE)
    assert without_key.api_keys == {} and without_key.faults == ()


SPOILED: list[Callable[[Document], object]] = [
    lambda d: {**d, "spec": {"typo": 1}},
    lambda d: {**d, "spec": "x"},
    lambda d: {**d, "apiVersion": "v2"},
    lambda d: {**d, "extra": 1},
    lambda d: {**d, "kind": "Modle"},
    lambda d: {**d, "kind": None},
    lambda d: {**d, "metadata": {"nme": "x"}},
    lambda d: {**d, "metadata": "x"},
    lambda d: {name: value for name, value in d.items() if name != "metadata"},
    lambda d: "just text",
    lambda d: [d],
]


@pytest.mark.parametrize("spoil", SPOILED)
@pytest.mark.parametrize("spoiled", VALID)
def test_an_invalid_document_never_takes_a_valid_resource_away(
    spoil: Callable[[Document], object], spoiled: Document
) -> None:
    built = build(placed(*replaced(spoiled, spoil(spoiled))), IN_FORCE)
    assert built.by_key == IN_FORCE.by_key and built.revision == IN_FORCE.revision
    (found,) = built.faults
    assert found.where == "a.yaml"
    # And it stays for as long as the document is invalid.
    assert build(placed(*replaced(spoiled, spoil(spoiled))), built).by_key == IN_FORCE.by_key
    assert build(placed(*VALID), built).faults == ()


def test_a_document_that_was_never_valid_adds_nothing() -> None:
    built = build(placed(*VALID, {**TENANT, "metadata": {"name": "new"}, "spec": 7}), IN_FORCE)
    assert names(built) == names(IN_FORCE) and len(built.faults) == 1


def test_an_unnamed_fault_keeps_what_stood_in_its_own_file_only() -> None:
    other = resource("Tenant", "globex")
    before = build([*placed(*VALID), *placed(other, where="b.yaml")], NOTHING)
    after = build([*placed(*VALID[:4]), *placed({"kind": "?"}, where="b.yaml")], before)
    assert list(after.tenants) == ["globex"], "a.yaml may remove what it declared"
    assert after.api_keys == {}


def test_a_duplicate_is_refused_and_the_first_counts_at_every_load() -> None:
    twice = [*placed(*VALID), *placed(changed(TENANT, displayName="two"), where="b.yaml")]
    current = NOTHING
    for _ in range(3):
        current = build(twice, current)
        assert current.tenants["acme"].spec.display_name == "one"
        (found,) = current.faults
        assert (found.where, "declared twice" in found.message) == ("b.yaml", True)


def test_a_valid_duplicate_of_an_invalid_document_counts() -> None:
    documents = [
        *placed(*replaced(TENANT, {**TENANT, "spec": 7})),
        *placed(changed(TENANT, displayName="two"), where="b.yaml"),
    ]
    built = build(documents, IN_FORCE)
    assert built.tenants["acme"].spec.display_name == "two"
    assert len(built.faults) == 1


@pytest.mark.parametrize(
    ("dangling", "missing"),
    [
        (model("other", provider="nobody"), "Provider nobody"),
        (resource("RoutePolicy", "other", models=["nobody"]), "Model nobody"),
        (resource("RoutePolicy", "other", baselineModel="nobody"), "Model nobody"),
        (resource("RoutePolicy", "other", fallbacks={"nobody": ["m"]}), "Model nobody"),
        (resource("RoutePolicy", "other", fallbacks={"m": ["nobody"]}), "Model nobody"),
        (resource("Tenant", "other", routePolicy="nobody"), "RoutePolicy nobody"),
        (resource("Tenant", "other", cachePolicy="nobody"), "CachePolicy nobody"),
        (resource("Tenant", "other", allowedModels=["nobody"]), "Model nobody"),
        (resource("ApiKey", "other", tenant="nobody", secretRef={"file": "f"}), "Tenant nobody"),
    ],
)
def test_a_reference_to_nothing_keeps_its_resource_out(dangling: Document, missing: str) -> None:
    built = build(placed(*VALID, dangling), NOTHING)
    assert built.by_key == IN_FORCE.by_key
    (found,) = built.faults
    assert found.where == f"{dangling['kind']} other" and missing in found.message


def test_a_change_to_a_dangling_reference_keeps_the_version_before_it() -> None:
    built = build(placed(*replaced(TENANT, changed(TENANT, routePolicy="nobody"))), IN_FORCE)
    assert built.by_key == IN_FORCE.by_key and len(built.faults) == 1


def test_what_depends_on_something_removed_goes_with_it() -> None:
    built = build(placed(*[d for d in VALID if d is not TENANT]), IN_FORCE)
    assert built.tenants == {} and built.api_keys == {}
    assert [found.where for found in built.faults] == ["ApiKey ci"]
    # All the way down: key -> tenant -> policy -> model -> provider.
    chain = [
        model("m"),
        resource("RoutePolicy", "default", models=["m"]),
        CACHE,
        TENANT,
        KEY,
    ]
    assert names(build(placed(*chain), NOTHING)) == [("CachePolicy", "default")]


@given(order=st.permutations(VALID))
def test_the_order_of_documents_does_not_matter(order: list[Document]) -> None:
    built = build(placed(*order), NOTHING)
    assert built.by_key == IN_FORCE.by_key and built.revision == IN_FORCE.revision


def relabelled(labels: dict[str, str]) -> Document:
    return {**TENANT, "metadata": {"name": "acme", "labels": labels}}


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)


@given(one=LABELS, other=LABELS)
def test_the_revision_changes_exactly_when_the_content_does(
    one: dict[str, str], other: dict[str, str]
) -> None:
    first = build(placed(*replaced(TENANT, relabelled(one))), NOTHING)
    reordered = dict(reversed(other.items()))
    second = build(placed(*replaced(TENANT, relabelled(reordered)), where="b.yaml"), NOTHING)
    assert (first.revision == second.revision) == (one == other)
    assert len(first.revision) == 12


def test_faults_alone_do_not_change_the_revision() -> None:
    assert build(placed(*VALID, {"kind": "?"}), IN_FORCE).revision == IN_FORCE.revision
    assert IN_FORCE.revision != build([], NOTHING).revision


def test_a_number_of_any_size_has_a_revision() -> None:
    huge = changed(CACHE, maxTenantBytes=10**30)
    built = build(placed(*replaced(CACHE, huge)), IN_FORCE)
    assert built.cache_policies["default"].spec.max_tenant_bytes == 10**30
    assert built.revision != IN_FORCE.revision
