"""Who may speak to whom, both ends agreeing."""

from collections.abc import Callable
from typing import Any

import pytest

from tools import chart

Render = Callable[[str], list[chart.Object]]
EDGES = {
    "analytics": {"governance", "redis"},
    "cache": {"governance", "redis"},
    "envoy": {"analytics", "cache", "governance", "router"},
    "governance": {"redis"},
    "model": set(),
    "redis": set(),
    "router": {"cache", "governance", "model", "redis"},
    "test": {"envoy"},
}
"""Who opens connections to whom inside the release, in the trial."""
LABEL = "app.kubernetes.io/component"


def _policies(objects: list[chart.Object]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for part in objects:
        spec = part.get("spec")
        if part["kind"] == "NetworkPolicy" and isinstance(spec, dict):
            found[spec["podSelector"]["matchLabels"].get(LABEL, "everyone")] = spec
    return found


def _peers(rules: list[dict[str, Any]] | None, side: str) -> dict[str, set[int]]:
    """Components and ports that rules name."""
    found: dict[str, set[int]] = {}
    for rule in rules or []:
        for peer in rule.get(side, []):
            labels = peer.get("podSelector", {}).get("matchLabels", {})
            if LABEL in labels:
                assert labels["app.kubernetes.io/instance"] == chart.RELEASE
                ports = {port["port"] for port in rule["ports"]}
                found.setdefault(labels[LABEL], set()).update(ports)
    return found


def test_nothing_is_allowed_that_is_not_said(case: str, rendered: Render) -> None:
    policies = _policies(rendered(case))
    if case == "minimal":
        assert policies == {}
        return

    everyone = policies["everyone"]
    assert everyone["policyTypes"] == ["Ingress", "Egress"]
    assert not everyone.get("ingress") and not everyone.get("egress")


def test_every_pod_has_rules_of_its_own(case: str, rendered: Render) -> None:
    if case == "minimal":
        return
    policies = _policies(rendered(case))
    for part in rendered(case):
        if part["kind"] in ("Deployment", "StatefulSet", "Pod"):
            assert chart.identifier(part).rsplit("-", 1)[1] in policies


@pytest.mark.parametrize("caller", sorted(EDGES))
def test_each_part_reaches_those_it_needs_and_no_others(caller: str, rendered: Render) -> None:
    policies = _policies(rendered("trial"))

    assert set(_peers(policies[caller].get("egress"), "to")) == EDGES[caller]


@pytest.mark.parametrize("callee", sorted(EDGES))
def test_each_part_is_reached_by_those_who_need_it(callee: str, rendered: Render) -> None:
    policies = _policies(rendered("trial"))
    callers = {caller for caller, callees in EDGES.items() if callee in callees}

    assert set(_peers(policies[callee].get("ingress"), "from")) == callers


def test_both_ends_agree_on_the_port(case: str, rendered: Render) -> None:
    policies = _policies(rendered(case))
    for caller, spec in policies.items():
        for callee, ports in _peers(spec.get("egress"), "to").items():
            assert _peers(policies[callee].get("ingress"), "from")[caller] == ports


def test_only_the_router_reaches_providers(rendered: Render) -> None:
    given = {"apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]}}
    objects = chart.render({"networkPolicy": given})
    for name, spec in _policies(objects).items():
        ports = {
            port["port"]
            for rule in spec.get("egress") or []
            if not any("podSelector" in peer for peer in rule.get("to", []))
            for port in rule["ports"]
        }
        talks = name in ("router", "cache", "governance")
        assert ports == ({443, 6443} if name == "router" else {6443} if talks else set())


def test_addresses_of_external_stores_are_the_only_way_out(rendered: Render) -> None:
    policies = _policies(rendered("production-external"))

    def blocks(component: str) -> set[tuple[str, int]]:
        return {
            (peer["ipBlock"]["cidr"], port["port"])
            for rule in policies[component]["egress"]
            for peer in rule.get("to", [])
            if "ipBlock" in peer
            for port in rule["ports"]
        }

    api, redis = ("10.0.0.1/32", 443), ("10.20.0.0/24", 6380)
    assert blocks("analytics") == {redis, ("10.20.1.0/24", 5432)}
    assert blocks("cache") == {api, redis}
    assert blocks("envoy") == set()
    assert {api, redis, ("0.0.0.0/0", 443)} <= blocks("router")


def test_milvus_is_reached_by_the_cache_alone_and_reaches_nobody(rendered: Render) -> None:
    policies = _policies(rendered("milvus"))
    assert _peers(policies["milvus"]["ingress"], "from") == {"cache": {19530}}
    assert not policies["milvus"]["egress"]
    callers = {
        name for name, spec in policies.items() if "milvus" in _peers(spec.get("egress"), "to")
    }
    assert callers == {"cache"}
    outside = _policies(rendered("milvus-external"))
    block = {"to": [{"ipBlock": {"cidr": "10.20.2.0/24"}}]}
    port = {"ports": [{"port": 19530, "protocol": "TCP"}]}
    assert block | port in outside["cache"]["egress"]
    assert block | port not in outside["router"]["egress"] and "milvus" not in outside


def test_an_address_that_is_not_allowed_is_taken_out_of_those_that_are(rendered: Render) -> None:
    rules = _policies(rendered("production-external"))["router"]["egress"]
    blocks = [p["ipBlock"] for rule in rules for p in rule.get("to", []) if "ipBlock" in p]

    assert {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]} in blocks


def test_the_metrics_are_for_prometheus(rendered: Render) -> None:
    monitoring = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    }
    for name, spec in _policies(rendered("production-external")).items():
        readers = [
            rule["from"]
            for rule in spec.get("ingress") or []
            if {port["port"] for port in rule["ports"]} & {9090, 9902}
        ]
        assert readers == ([] if name == "everyone" else [[monitoring]]), name
