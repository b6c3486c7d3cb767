"""skaffold.yaml builds what there is and installs it by values that the chart has."""

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tools import chart
from tools.images.catalogue import catalogue

ROOT = Path(__file__).resolve().parents[3]
SCHEMA_MODULE = "github.com/GoogleContainerTools/skaffold/v2@v2.16.1"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The file."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text("utf-8"))
    return found


def with_profile(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The configuration after the patches of a profile, all of which add a key."""
    patched = copy.deepcopy(config)
    (profile,) = (each for each in config["profiles"] if each["name"] == name)
    for patch in profile["patches"]:
        assert patch["op"] == "add"
        *path, key = patch["path"].strip("/").split("/")
        place: Any = patched
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[key] = patch["value"]
    return patched


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Skaffold's own, out of its Go module."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("skaffold's schema comes in its Go module, and there is no go")
    done = subprocess.run(
        [go, "mod", "download", "-json", SCHEMA_MODULE],
        cwd=tmp_path_factory.mktemp("go"),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    if done.returncode != 0:
        pytest.skip(f"skaffold's Go module cannot be had: {done.stdout}{done.stderr}")
    folder = Path(json.loads(done.stdout)["Dir"]) / "docs-v2" / "content" / "en" / "schemas"
    found: dict[str, Any] = json.loads((folder / "v4beta13.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("profile", [None, "dev", "ci"])
def test_it_is_what_skaffolds_schema_says(
    config: dict[str, Any], schema: dict[str, Any], profile: str | None
) -> None:
    checked = with_profile(config, profile) if profile else config
    assert checked["apiVersion"] == "skaffold/v4beta13"
    jsonschema.validate(checked, schema)


def test_every_image_of_the_mesh_is_built_as_make_images_builds_it(config: dict[str, Any]) -> None:
    built = {
        artifact["image"]: (
            artifact["docker"]["dockerfile"],
            artifact["docker"]["buildArgs"],
        )
        for artifact in config["build"]["artifacts"]
    }
    assert built == {
        image.reference.partition(":")[0]: (
            str(image.dockerfile),
            dict(image.arguments),
        )
        for image in catalogue(ROOT)
        if not image.for_tests
    }


def test_what_is_built_is_what_is_installed(config: dict[str, Any]) -> None:
    (release,) = config["deploy"]["helm"]["releases"]
    values: dict[str, Any] = {}
    for path, template in release["setValueTemplates"].items():
        kind, _, image = template.strip("{}").removeprefix(".IMAGE_").partition("_infermesh_")
        service, *rest = path.split(".")
        assert service == image and rest == ["image", {"REPO": "repository", "TAG": "tag"}[kind]]
        place = values.setdefault(service, {}).setdefault("image", {})
        place[rest[-1]] = f"registry.example/{service}" if kind == "REPO" else "built"
    images = {
        container["image"]
        for document in chart.render(values)
        if isinstance(spec := document.get("spec"), dict) and "template" in spec
        for container in spec["template"]["spec"]["containers"]
    }
    assert {f"registry.example/{service}:built" for service in values} <= images


def test_files_are_put_where_the_chart_keeps_those_that_can_be_changed(
    config: dict[str, Any],
) -> None:
    dev = with_profile(config, "dev")
    assert dev["deploy"]["helm"]["releases"][0]["setValues"] == {"development.enabled": True}
    services = [a for a in dev["build"]["artifacts"] if "SERVICE" in a["docker"]["buildArgs"]]
    for artifact in services:
        service = artifact["docker"]["buildArgs"]["SERVICE"]
        sources = {rule["strip"] for rule in artifact["sync"]["manual"]}
        assert sources == {"libs/common/src/", f"services/{service}/src/"}
        for rule in artifact["sync"]["manual"]:
            assert rule["dest"] == "/development" and rule["src"] == f"{rule['strip']}**/*.py"
            assert any((ROOT / rule["strip"]).rglob("*.py"))
    deployments = [
        d["spec"]["template"]["spec"]
        for d in chart.render({"development": {"enabled": True}})
        if isinstance(d.get("spec"), dict) and "template" in d["spec"]
    ]
    changed = [
        pod
        for pod in deployments
        for variable in pod["containers"][0].get("env", ())
        if variable == {"name": "PYTHONPATH", "value": "/development"}
    ]
    assert len(changed) == len(services)
    for pod in changed:
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert "/development" in mounts
