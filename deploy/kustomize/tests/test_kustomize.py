"""Kustomize and the chart describe the same objects, whichever components are chosen."""

import itertools
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.cluster_tools import kubectl_path
from tools.kustomize import CHART, KUSTOMIZE, SETTINGS, Key, Object, differing, rendered
from tools.manifest_diff import merge_patch

# The one that replaces a workload comes first: others then find the new one.
FIRST = "external-database"
COMPONENTS = sorted(
    (path.name for path in (KUSTOMIZE / "components").iterdir()),
    key=lambda name: (name != FIRST, name),
)
OVERLAYS = sorted(path.name for path in (KUSTOMIZE / "overlays").iterdir())
# TLS ends at the one or at the other.
ALTERNATIVES = [{"gateway-api", "tls"}, {"ingress", "tls"}]
# Of overlays alone.
OWN_KINDS = ("Namespace", "CustomResourceDefinition")


def built(folder: Path) -> dict[Key, Object]:
    done = subprocess.run(
        [str(kubectl_path()), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Generated ConfigMaps are named by a sum of what they hold.
    names = "|".join(SETTINGS)
    text = re.sub(rf"\b({names})-[0-9a-z]{{10}}\b", r"\1", done.stdout)
    objects = {}
    for document in yaml.load_all(text, Loader=yaml.CSafeLoader):
        if document["kind"] not in OWN_KINDS:
            objects[document["kind"], document["metadata"]["name"]] = document
    return objects


def merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{name: merged(old.get(name), value) for name, value in new.items()}}


def plain(value: Any) -> Any:
    """Without order where it means nothing, and without what is null or empty."""
    if isinstance(value, dict):
        parts = {name: plain(part) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part is not None and part != {}}
    if isinstance(value, list):
        parts_of = [plain(part) for part in value]
        if all(isinstance(part, dict) for part in parts_of):
            return sorted(parts_of, key=lambda part: json.dumps(part, sort_keys=True))
        return parts_of
    return value


def comparable(objects: dict[Key, Object]) -> dict[Key, Any]:
    found = {}
    for (kind, name), document in objects.items():
        content = json.loads(json.dumps(document, default=str))
        content["metadata"].pop("namespace", None)
        if kind == "ConfigMap" and name in SETTINGS:
            settings: Any = {}
            for _, text in sorted(content["data"].items()):
                settings = merged(settings, yaml.load(text, Loader=yaml.CSafeLoader))
            content = {"settings": settings}
        found[kind, name] = plain(content)
    return found


def assert_same(folder: Path, components: list[str]) -> None:
    base = KUSTOMIZE / "base" / "values.yaml"
    values = [KUSTOMIZE / "components" / name / "values.yaml" for name in components]
    chart, kustomize = comparable(rendered([base, *values])), comparable(built(folder))
    assert kustomize.keys() == chart.keys()
    for key, expected in chart.items():
        assert kustomize[key] == expected, key


def test_what_is_generated_is_in_step_with_the_chart() -> None:
    assert not differing(KUSTOMIZE)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_the_chart_with_the_values_of_its_components(overlay: str) -> None:
    folder = KUSTOMIZE / "overlays" / overlay
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    components = [Path(path).name for path in kustomization["components"]]
    assert FIRST not in components[1:]
    assert_same(folder, components)


PAIRS = [pair for pair in itertools.combinations(COMPONENTS, 2) if set(pair) not in ALTERNATIVES]


@pytest.mark.parametrize("components", [list(pair) for pair in PAIRS], ids="+".join)
def test_any_two_components_go_together(components: list[str], tmp_path: Path) -> None:
    here = os.path.relpath(KUSTOMIZE, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [f"{here}/base"],
                "components": [f"{here}/components/{name}" for name in components],
            }
        )
    )
    assert_same(tmp_path, components)


def test_the_custom_resources_come_along() -> None:
    listed = yaml.safe_load((KUSTOMIZE / "base" / "kustomization.yaml").read_text())["resources"]
    crds = sorted(path.name for path in (CHART / "crds").glob("*.yaml"))
    assert [path for path in listed if path.startswith("crds/")] == [f"crds/{n}" for n in crds]


def test_a_patch_names_what_it_changes_and_appends_where_there_are_no_names() -> None:
    old = {
        "env": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}],
        "rules": [{"x": 1}, {"x": 2}],
        "args": ["one"],
        "gone": 1,
    }
    new = {
        "env": [{"name": "a", "value": "3"}, {"name": "c", "value": "4"}],
        "rules": [{"x": 2}, {"x": 3}],
        "args": ["two"],
    }
    operations: list[Object] = []
    patch = merge_patch(old, new, operations)
    assert patch == {
        "env": [
            {"name": "b", "$patch": "delete"},
            {"name": "a", "value": "3"},
            {"name": "c", "value": "4"},
        ],
        "gone": None,
    }
    assert operations == [
        {"op": "replace", "path": "/args", "value": ["two"]},
        {"op": "remove", "path": "/rules/0"},
        {"op": "add", "path": "/rules/-", "value": {"x": 3}},
    ]
