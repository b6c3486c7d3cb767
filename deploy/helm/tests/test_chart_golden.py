"""What the chart renders: as written down, and valid."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from infermesh_common.resources.types import KINDS
from tools import chart

VERSIONS = ("1.31", "1.34", "1.37")
# Kinds of other products, whose schemas are not at hand.
FOREIGN = {
    "cert-manager.io/v1",
    "gateway.networking.k8s.io/v1",
    "monitoring.coreos.com/v1",
}
OURS = "infermesh.dev/v1alpha1"
Render = Callable[[str], list[chart.Object]]


def test_the_golden_files_are_what_the_chart_renders() -> None:
    assert list(chart.differences()) == []


def test_every_case_renders_something_of_its_own(case: str) -> None:
    text = chart.rendered_of(case).read_text("utf-8")

    assert "kind: " in text
    assert len(text.splitlines()) > 20


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_kubernetes(case: str, version: str, rendered: Render) -> None:
    for part in rendered(case):
        if part["apiVersion"] not in FOREIGN | {OURS}:
            _validate(json.dumps(part), version)


@cache
def _validate(text: str, version: str) -> None:
    """Once an object: most are the same in many cases, and this takes a while."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def test_an_object_that_is_not_valid_is_noticed(rendered: Render) -> None:
    service = next(part for part in rendered("trial") if part["kind"] == "Service")
    wrong = service | {"spec": {"ports": "none"}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_custom_resources_are_valid_by_the_definitions_of_the_chart(
    case: str, rendered: Render
) -> None:
    definitions = _definitions()
    for part in rendered(case):
        if part["apiVersion"] == OURS:
            # OpenAPI 3.0 is of the time of that draft.
            jsonschema.Draft4Validator(definitions[str(part["kind"])]).validate(part)


def test_custom_resources_are_taken_by_the_services(case: str, rendered: Render) -> None:
    for part in rendered(case):
        if part["apiVersion"] == OURS:
            KINDS[str(part["kind"])].model_validate(part)


def test_no_two_objects_have_the_same_name(case: str, rendered: Render) -> None:
    names = [(part["apiVersion"], chart.identifier(part)) for part in rendered(case)]

    assert len(names) == len(set(names))


def test_every_object_is_in_the_namespace_of_the_release(case: str, rendered: Render) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding"}
    for part in rendered(case):
        metadata = part["metadata"]
        assert isinstance(metadata, dict)
        if part["kind"] not in cluster_wide:
            assert metadata.get("namespace") == chart.NAMESPACE, chart.identifier(part)


def test_every_object_has_the_labels_of_the_release(case: str, rendered: Render) -> None:
    for part in rendered(case):
        metadata = part["metadata"]
        assert isinstance(metadata, dict)
        labels = metadata.get("labels", {})
        for name in ("name", "instance", "component", "version", "managed-by", "part-of"):
            assert f"app.kubernetes.io/{name}" in labels, chart.identifier(part)
        assert labels["app.kubernetes.io/name"] == "infermesh"
        assert labels["app.kubernetes.io/instance"] == chart.RELEASE


@pytest.mark.parametrize(
    ("release", "fullname"),
    [("infermesh", "infermesh"), ("eu", "eu-infermesh"), ("my-infermesh-eu", "my-infermesh-eu")],
)
def test_names_begin_with_the_release(release: str, fullname: str) -> None:
    objects = chart.render(release=release)

    own = [part for part in objects if part["apiVersion"] != OURS]
    for part in own:
        assert chart.identifier(part).split("/")[1].startswith(fullname + "-")
    router = next(p for p in own if chart.identifier(p) == f"Deployment/{fullname}-router")
    assert f"{fullname}-config" in yaml.safe_dump(router)


def test_names_stay_labels_of_the_dns_with_the_longest_release() -> None:
    for part in chart.render(release="a" * 53):
        kind, _, name = chart.identifier(part).partition("/")
        # A StatefulSet adds a revision to a label, a Deployment two hashes to a pod's name.
        if kind in ("Deployment", "StatefulSet", "Service", "Pod"):
            assert len(name) <= 52, name


def test_every_kind_of_resource_can_be_tried(rendered: Render) -> None:
    trial = {part["kind"] for part in rendered("trial") if part["apiVersion"] == OURS}

    assert trial == set(KINDS)


def _definitions() -> dict[str, dict[str, object]]:
    """JSON schema of each kind by its CustomResourceDefinition."""
    found: dict[str, dict[str, object]] = {}
    for file in sorted((chart.CHART / "crds").glob("*.yaml")):
        for definition in yaml.safe_load_all(Path(file).read_text("utf-8")):
            spec = definition["spec"]
            schema = spec["versions"][0]["schema"]["openAPIV3Schema"]
            found[spec["names"]["kind"]] = schema
    return found
