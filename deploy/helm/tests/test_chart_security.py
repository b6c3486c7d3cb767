"""What pods and people may do: no more than they need."""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from infermesh_common.identity.model import parse_key_id
from tools import chart

Render = Callable[[str], list[chart.Object]]
Pods = Callable[[list[chart.Object]], Iterator[tuple[str, Mapping[str, Any]]]]
# 65532: nobody of any image.
USER = 65532
TALKS_TO_THE_API_SERVER = {"router", "cache", "governance"}
# Long, of letters and digits mixed: what keys, tokens and passwords look like.
SECRET = re.compile(r"(?=[A-Za-z0-9+/_-]*[0-9])(?=[A-Za-z0-9+/_-]*[A-Z])[A-Za-z0-9+/_=-]{32,}")


def _containers(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def test_every_pod_keeps_to_the_restricted_pod_security_standard(
    case: str, rendered: Render, pods: type[Any]
) -> None:
    for name, spec in pods.of(rendered(case)):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(spec.get(host) for host in ("hostNetwork", "hostPID", "hostIPC")), name
        for volume in spec.get("volumes", []):
            kinds = set(volume) - {"name"}
            allowed = {"configMap", "secret", "projected", "emptyDir", "persistentVolumeClaim"}
            assert kinds <= allowed, name
        for container in _containers(spec):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert not any("hostPort" in port for port in container.get("ports", [])), name


def test_pods_are_of_one_user_that_no_image_has(
    case: str, rendered: Render, pods: type[Any]
) -> None:
    for name, spec in pods.of(rendered(case)):
        context = spec["securityContext"]
        found = {context["runAsUser"], context["runAsGroup"], context["fsGroup"]}
        assert found == {USER}, name


def test_every_container_says_what_it_needs(case: str, rendered: Render, pods: type[Any]) -> None:
    for name, spec in pods.of(rendered(case)):
        for container in _containers(spec):
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), name
            assert "memory" in resources["limits"], name


def test_no_image_has_a_tag_that_moves(case: str, rendered: Render, pods: type[Any]) -> None:
    version = re.compile(r"[\w./-]+(:v?\d+\.\d+\.\d+([.-][\w.-]+)?|@sha256:[0-9a-f]{64})")
    for name, spec in pods.of(rendered(case)):
        for container in _containers(spec):
            assert version.fullmatch(container["image"]), f"{name}: {container['image']}"


def test_images_name_no_registry_unless_one_is_given(rendered: Render, pods: type[Any]) -> None:
    def images(objects: list[chart.Object]) -> list[str]:
        return [c["image"] for _, spec in pods.of(objects) for c in _containers(spec)]

    assert not any(
        "." in image.split("/")[0] for image in images(rendered("trial")) if "/" in image
    )
    mirror = "mirror.example.com/infermesh/"
    assert all(image.startswith(mirror) for image in images(rendered("mirror")))


def test_only_those_who_need_it_have_a_token_of_the_api_server(
    case: str, rendered: Render, pods: type[Any]
) -> None:
    for name, spec in pods.of(rendered(case)):
        component = name.rsplit("-", 1)[1]
        if component != "vault":
            expected = component in TALKS_TO_THE_API_SERVER
            assert spec["automountServiceAccountToken"] is expected, name
    for part in rendered(case):
        if part["kind"] == "ServiceAccount":
            assert part["automountServiceAccountToken"] is False, chart.identifier(part)


def test_nothing_that_looks_like_a_secret_is_in_a_config_map(case: str, rendered: Render) -> None:
    secrets = {
        base64.b64decode(value).decode()
        for part in rendered(case)
        if part["kind"] == "Secret"
        for value in _data(part).values()
    }
    for part in rendered(case):
        if part["kind"] == "ConfigMap":
            text = yaml.safe_dump(_data(part))
            assert not any(secret in text for secret in secrets), chart.identifier(part)
            assert "password:" not in text
            if "dashboard" not in chart.identifier(part):
                assert SECRET.search(text) is None, chart.identifier(part)


def test_a_secret_in_a_config_map_would_be_noticed(rendered: Render) -> None:
    for part in rendered("trial"):
        for value in _data(part).values() if part["kind"] == "Secret" else ():
            assert SECRET.search(f"password: {base64.b64decode(value).decode()}")


def test_no_secret_is_in_a_pod_or_in_anything_but_a_secret(case: str, rendered: Render) -> None:
    secrets = [
        value
        for part in rendered(case)
        if part["kind"] == "Secret"
        for value in _data(part).values()
    ]
    for part in rendered(case):
        if part["kind"] != "Secret":
            text = yaml.safe_dump(part)
            for secret in secrets:
                assert secret not in text and base64.b64decode(secret).decode() not in text


def _data(part: chart.Object) -> dict[str, str]:
    data = part.get("data")
    return {str(k): str(v) for k, v in data.items()} if isinstance(data, dict) else {}


def _secrets(objects: list[chart.Object]) -> dict[str, dict[str, str]]:
    return {
        chart.identifier(part).split("/")[1]: {
            key: base64.b64decode(value).decode() for key, value in _data(part).items()
        }
        for part in objects
        if part["kind"] == "Secret"
    }


def test_made_keys_have_the_form_that_the_services_accept(rendered: Render) -> None:
    secrets = _secrets(rendered("trial"))

    for key in (
        secrets["infermesh-operator-key"]["operator-key"],
        secrets["infermesh-trial-key"]["api-key"],
    ):
        assert parse_key_id(key) is not None


def test_two_releases_have_no_secret_in_common() -> None:
    first, second = (_secrets(chart.render()) for _ in range(2))

    assert set(first) == set(second)
    for name, values in first.items():
        for key, value in values.items():
            assert value != second[name][key], f"{name}/{key}"
            assert len(value) >= 43


def test_made_secrets_outlive_the_release(case: str, rendered: Render) -> None:
    for part in rendered(case):
        if part["kind"] == "Secret":
            metadata = part["metadata"]
            assert isinstance(metadata, dict)
            assert metadata["annotations"]["helm.sh/resource-policy"] == "keep"


def test_no_secret_is_made_where_all_are_given(rendered: Render) -> None:
    assert _secrets(rendered("existing-secrets")) == {}
    assert _secrets(rendered("production-external")) == {}


@pytest.mark.parametrize("service", ["cache", "analytics", "envoy", "redis", "model"])
def test_only_router_and_governance_read_secrets(service: str, rendered: Render) -> None:
    for part in rendered("production-external") + rendered("trial"):
        if part["kind"] == "Role" and chart.identifier(part).endswith(f"-{service}"):
            assert "secrets" not in str(part["rules"])


def test_secrets_are_read_by_name_alone(case: str, rendered: Render) -> None:
    for part in rendered(case):
        rules = part.get("rules")
        if part["kind"] not in ("Role", "ClusterRole") or not isinstance(rules, list):
            continue
        for rule in rules:
            assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]
            if "secrets" in rule["resources"]:
                assert rule["resourceNames"]
                assert set(rule["verbs"]) <= {"get", "list", "watch"}
            if "leases" in rule["resources"] and rule["verbs"] != ["create"]:
                assert len(rule["resourceNames"]) == 1


def test_each_secret_is_read_by_its_one_reader(rendered: Render) -> None:
    def readable(case: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for part in rendered(case):
            rules = part.get("rules")
            if part["kind"] == "Role" and isinstance(rules, list):
                names = [r.get("resourceNames", []) for r in rules if "secrets" in r["resources"]]
                found[chart.identifier(part)] = {name for group in names for name in group}
        return found

    assert readable("trial") == {
        "Role/infermesh-router": {"infermesh-model"},
        "Role/infermesh-governance": {"infermesh-trial-key"},
        "Role/infermesh-cache": set(),
    }
    assert readable("production-external") == {
        "Role/infermesh-router": {"openai-key", "anthropic-key"},
        "Role/infermesh-governance": {"search-team-key"},
        "Role/infermesh-cache": set(),
    }


def test_each_kind_has_one_writer_of_its_status(rendered: Render) -> None:
    writers: dict[str, list[str]] = {}
    for part in rendered("trial"):
        rules = part.get("rules")
        if part["kind"] == "Role" and isinstance(rules, list):
            for rule in rules:
                for resource in rule["resources"]:
                    if resource.endswith("/status"):
                        writers.setdefault(resource, []).append(chart.identifier(part))

    router, governance = ["Role/infermesh-router"], ["Role/infermesh-governance"]
    assert writers == {
        "providers/status": router,
        "models/status": router,
        "routepolicies/status": router,
        "cachepolicies/status": router,
        "tenants/status": governance,
        "apikeys/status": governance,
    }


def test_the_operator_key_is_in_the_pod_of_governance_alone(
    rendered: Render, pods: type[Any]
) -> None:
    holders = {name for name, spec in pods.of(rendered("trial")) if "operator-key" in str(spec)}

    assert holders == {"Deployment/infermesh-governance"}
