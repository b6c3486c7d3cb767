"""Every kind of resource survives the round trip, and nothing that is none is let in."""

import copy
from typing import cast

import pytest
import yaml
from pydantic import ValidationError

from infermesh_common.resources.resource_set import parse
from infermesh_common.resources.types import KINDS, Model, Provider, Resource
from infermesh_common.testing.resources import Document, resource

FULL: dict[str, Document] = {
    "Provider": resource(
        "Provider",
        "openai",
        protocol="openai",
        baseUrl="https://api.openai.com/v1",
        auth={"file": "/run/secrets/openai"},
        keys=[],
        authHeader="api-key",
        headers={"x-a": "b"},
        query={"api-version": "2024-10-21"},
        timeouts={
            "connectMs": 1,
            "firstTokenMs": 2,
            "betweenTokensMs": 3,
            "totalMs": 4,
        },
        maxConcurrent=8,
        region="eu-central-1",
    ),
    "Model": resource(
        "Model",
        "gpt-4o.mini",
        provider="openai",
        upstreamModel="gpt-4o-mini",
        aliases=["small"],
        capabilities=["chat", "tools", "json_schema"],
        contextTokens=128_000,
        maxOutputTokens=16_384,
        quality={"general": 0.8, "code": 0.7},
        latencyMs=900,
        pricing={"overlay": {"source": "contract", "input": "0.15", "cacheWriteInput": "0.3"}},
    ),
    "RoutePolicy": resource(
        "RoutePolicy",
        "default",
        models=["gpt-4o.mini"],
        qualityFloor={"general": 0.5},
        maxLatencyMs=2000,
        baselineModel="gpt-4o.mini",
        maxAttempts=2,
        fallbacks={"gpt-4o.mini": ["gpt-4o", "claude"]},
        hedgeAfterMs=800,
    ),
    "CachePolicy": resource(
        "CachePolicy",
        "default",
        enabled=False,
        ttlSeconds=60,
        maxTemperature=0.5,
        maxEntryBytes=1000,
        maxTenantBytes=10_000,
        singleFlight=False,
        singleFlightWaitMs=5,
        epoch=7,
        semantic={
            "enabled": True,
            "delta": 0.02,
            "confidence": 0.99,
            "auditRate": 0.05,
            "scope": "key",
            "comparison": "embedding",
            "overlooked": 0.1,
            "agreement": 0.9,
            "penaltyUsd": "0.5",
            "ttlSeconds": 60,
            "maxEntries": 1000,
            "bindHistory": True,
            "categories": {"billing": {"delta": 0.001, "penaltyUsd": "2", "ttlSeconds": 5}},
        },
    ),
    "Tenant": resource(
        "Tenant",
        "acme",
        displayName="Acme",
        suspended=True,
        allowedModels=["gpt-4o.mini"],
        routePolicy="strict",
        cachePolicy="none",
    ),
    "ApiKey": resource(
        "ApiKey",
        "ci",
        tenant="acme",
        role="admin",
        secretRef={"file": "/run/secrets/key"},
        description="for CI",
        team="search",
    ),
}
SMALLEST: dict[str, Document] = {
    "Provider": resource("Provider", "a", baseUrl="http://127.0.0.1:8000/v1"),
    "Model": resource("Model", "a", provider="p", upstreamModel="m", contextTokens=1),
    "RoutePolicy": {"apiVersion": "infermesh.dev/v1alpha1", "kind": "RoutePolicy"},
    "CachePolicy": {"apiVersion": "infermesh.dev/v1alpha1", "kind": "CachePolicy"},
    "Tenant": {"apiVersion": "infermesh.dev/v1alpha1", "kind": "Tenant"},
    "ApiKey": resource("ApiKey", "a", tenant="t", secretRef={"file": "f"}),
}


def written(parsed: Resource) -> Document:
    document: Document = parsed.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return document


def with_spec(kind: str, **spec: object) -> Document:
    document = copy.deepcopy(FULL[kind])
    old = document["spec"]
    assert isinstance(old, dict)
    document["spec"] = {**old, **spec}
    return document


def fault(document: object) -> str:
    with pytest.raises(ValueError) as caught:
        parse(cast(Document, document), "a.yaml")
    assert not isinstance(caught.value, ValidationError), "would show the values"
    return str(caught.value)


def test_every_kind_is_tried_here() -> None:
    assert set(FULL) == set(SMALLEST) == set(KINDS)
    for kind, document in FULL.items():
        spec = document["spec"]
        assert isinstance(spec, dict)
        fields = KINDS[kind].model_fields["spec"].annotation
        assert fields is not None and {f.alias for f in fields.model_fields.values()} == set(spec)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resource_that_says_everything_survives_the_round_trip(kind: str) -> None:
    parsed = parse(FULL[kind], "a.yaml")
    assert type(parsed) is KINDS[kind]
    assert written(parsed) == {**FULL[kind], "metadata": {"name": parsed.name}}
    again = parse(yaml.safe_load(yaml.safe_dump(written(parsed))), "a.yaml")
    assert again == parsed


@pytest.mark.parametrize("kind", KINDS)
def test_a_resource_that_says_the_least_is_valid(kind: str) -> None:
    document = {"metadata": {"name": "a"}, **SMALLEST[kind]}
    assert parse(document, "a.yaml").name == "a"


@pytest.mark.parametrize("kind", KINDS)
def test_what_kubernetes_adds_is_ignored(kind: str) -> None:
    document = {
        **FULL[kind],
        "status": {"conditions": [{"type": "Ready"}]},
        "metadata": {
            "name": "a",
            "namespace": "infermesh",
            "uid": "1",
            "labels": {"team": "x"},
            "annotations": {"a": "b"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
    }
    parsed = parse(document, "a.yaml")
    assert parsed.metadata.labels == {"team": "x"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_nobody_knows_is_refused_by_name(kind: str) -> None:
    assert "spec.typo: " in fault(with_spec(kind, typo="secret-value"))
    assert "typo: " in fault({**FULL[kind], "typo": "secret-value"})
    assert "secret-value" not in fault(with_spec(kind, typo="secret-value"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_resource_cannot_be_changed(kind: str) -> None:
    parsed = parse(FULL[kind], "a.yaml")
    with pytest.raises(ValidationError):
        setattr(parsed, "metadata", None)


@pytest.mark.parametrize(
    "name", ["", "A", "a_b", "-a", "a-", "a/b", "a b", "ä", "a\n", "a" * 254, 7, None]
)
def test_a_name_is_one_that_kubernetes_takes(name: object) -> None:
    message = fault({**FULL["Tenant"], "metadata": {"name": name}})
    assert message.startswith("metadata.name: ")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("Provider", "baseUrl", "ftp://secret-value"),
        ("Provider", "baseUrl", "https://secret-value/v1/"),
        ("Provider", "maxConcurrent", 0),
        ("Provider", "auth", "secret-value"),
        ("Provider", "protocol", "secret-value"),
        ("Provider", "keys", [{"secret": {"file": "a"}, "weight": 0}]),
        ("Provider", "keys", [{"secret": "secret-value"}]),
        ("Model", "contextTokens", "secret-value"),
        ("Model", "quality", {"general": 1.1}),
        ("Model", "quality", {"general": float("nan")}),
        ("Model", "capabilities", ["secret-value"]),
        ("Model", "latencyMs", 0),
        ("RoutePolicy", "maxAttempts", 11),
        ("RoutePolicy", "fallbacks", {"m": "secret-value"}),
        ("RoutePolicy", "fallbacks", {"SECRET": ["m"]}),
        ("RoutePolicy", "hedgeAfterMs", 0),
        ("CachePolicy", "maxTemperature", -0.1),
        ("CachePolicy", "maxTemperature", float("nan")),
        ("CachePolicy", "ttlSeconds", 0),
        ("CachePolicy", "epoch", -1),
        ("Tenant", "suspended", "secret-value"),
        ("ApiKey", "role", "operator"),
        ("ApiKey", "team", "Search"),
        ("ApiKey", "secretRef", {"file": "a", "value": "secret-value"}),
    ],
)
def test_a_fault_names_the_field_and_not_the_value(kind: str, field: str, value: object) -> None:
    message = fault(with_spec(kind, **{field: value}))
    assert message.startswith(f"spec.{field}") and "secret-value" not in message


def test_prices_are_from_the_catalog_or_stated_but_not_both() -> None:
    both = {"catalog": {"provider": "a", "model": "b"}, "overlay": {"source": "c"}}
    assert "not both" in fault(with_spec("Model", pricing=both))


def test_a_provider_has_one_key_or_several_with_weights_but_not_both() -> None:
    keys = [{"secret": {"file": "/run/a"}, "weight": 3}, {"secret": {"file": "/run/b"}}]
    alone = with_spec("Provider", keys=keys)
    spec = alone["spec"]
    assert isinstance(spec, dict)
    del spec["auth"]
    parsed = parse(alone, "a.yaml")
    assert isinstance(parsed, Provider)
    assert [(key.secret.file, key.weight) for key in parsed.spec.keys] == [
        ("/run/a", 3),
        ("/run/b", 1),
    ]
    assert written(parsed) == {**alone, "metadata": {"name": parsed.name}}
    assert "not both" in fault(with_spec("Provider", keys=keys))


def test_a_provider_whose_calls_are_signed_for_a_region_names_it() -> None:
    assert "needs a region" in fault(with_spec("Provider", protocol="bedrock", region=""))


@pytest.mark.parametrize(
    "document", [None, "text", 7, [], [{"kind": "Tenant"}], {}, {"kind": "Secret"}, {"kind": [1]}]
)
def test_what_is_no_resource_is_refused(document: object) -> None:
    assert fault(document).startswith(("must be a mapping", "kind must be one of Provider, Model"))


@pytest.mark.parametrize("version", ["v1", "infermesh.dev/v1", None, 1])
def test_another_version_is_refused(version: object) -> None:
    assert fault({**FULL["Tenant"], "apiVersion": version}).startswith("apiVersion: ")


def test_defaults_are_those_of_the_documentation() -> None:
    provider = parse(SMALLEST["Provider"], "a.yaml")
    model = parse(SMALLEST["Model"], "a.yaml")
    assert isinstance(provider, Provider) and isinstance(model, Model)
    assert provider.spec.auth is None and provider.spec.auth_header == "authorization"
    assert model.spec.capabilities == ("chat",)
    assert model.spec.pricing.catalog is None and model.spec.pricing.overlay is None
