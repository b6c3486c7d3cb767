"""What the services and Envoy are given is what they take."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infermesh_analytics.settings import AnalyticsSettings
from infermesh_cache.settings import CacheSettings
from infermesh_common.settings import CommonSettings, SettingsError, load_settings
from infermesh_envoy import descriptor_path, envoy_binary
from infermesh_governance.settings import GovernanceSettings
from infermesh_router.settings import RouterSettings
from tools import chart

Render = Callable[[str], list[chart.Object]]
PYTHON = sys.executable
SERVICES: dict[str, type[CommonSettings]] = {
    "analytics": AnalyticsSettings,
    "cache": CacheSettings,
    "governance": GovernanceSettings,
    "router": RouterSettings,
}


def _file(objects: list[chart.Object], name: str, key: str) -> str:
    for part in objects:
        if chart.identifier(part) == f"ConfigMap/{name}":
            data = part["data"]
            assert isinstance(data, dict)
            return str(data[key])
    raise AssertionError(f"no ConfigMap {name}")


def _load(objects: list[chart.Object], service: str, folder: Path) -> CommonSettings:
    path = folder / "infermesh.yaml"
    path.write_text(_file(objects, "infermesh-config", "infermesh.yaml"), "utf-8")
    entries = _pod(objects, service)["containers"][0]["env"]
    named = {entry["name"]: entry.get("value", "") for entry in entries}
    assert named["INFERMESH_CONFIG"] == "/etc/infermesh"
    environment = {"INFERMESH_CONFIG": str(folder)}
    return load_settings(SERVICES[service], service, environment=environment)


def _pod(objects: list[chart.Object], component: str) -> dict[str, Any]:
    for part in objects:
        if part["kind"] in ("Deployment", "StatefulSet"):
            if chart.identifier(part).endswith(f"-{component}"):
                spec = part["spec"]
                assert isinstance(spec, dict)
                pod: dict[str, Any] = spec["template"]["spec"]
                return pod
    raise AssertionError(f"no workload {component}")


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_each_service_takes_its_settings(
    case: str, service: str, rendered: Render, tmp_path: Path
) -> None:
    settings = _load(rendered(case), service, tmp_path)

    assert settings.resources_namespace == chart.NAMESPACE
    assert settings.server.listen_address.endswith(":50051")
    assert settings.server.health_address == "0.0.0.0:50052"
    assert settings.targets.cache == f"dns:///infermesh-cache.{chart.NAMESPACE}.svc:50051"


def test_a_field_that_no_service_knows_is_refused_by_it(tmp_path: Path) -> None:
    objects = chart.render({"config": {"router": {"near_cash": {}}}})

    with pytest.raises(SettingsError, match="near_cash"):
        _load(objects, "router", tmp_path)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_file_that_settings_name_is_mounted(
    case: str, service: str, rendered: Render, tmp_path: Path
) -> None:
    settings = _load(rendered(case), service, tmp_path)
    pod = _pod(rendered(case), service)
    named = [path for path in _paths(settings.model_dump()) if str(path).startswith("/run/")]

    assert named
    files = _mounted(pod)
    for path in named:
        assert str(path) in files


def _paths(value: object) -> list[Path]:
    if isinstance(value, Path):
        return [value]
    parts = value.values() if isinstance(value, dict) else ()
    return [path for part in parts for path in _paths(part)]


def _mounted(pod: dict[str, Any]) -> set[str]:
    """Files of Secrets and tokens, as the container sees them."""
    files: dict[str, list[str]] = {}
    for volume in pod["volumes"]:
        sources = volume.get("projected", {}).get("sources", [])
        sources = [*sources, {"secret": volume["secret"]}] if "secret" in volume else sources
        for source in sources:
            for item in source.get("secret", {}).get("items", []):
                files.setdefault(volume["name"], []).append(item["path"])
            if token := source.get("serviceAccountToken"):
                files.setdefault(volume["name"], []).append(token["path"])
    mounts = pod["containers"][0]["volumeMounts"]
    return {f"{m['mountPath']}/{file}" for m in mounts for file in files.get(m["name"], [])}


def test_settings_of_the_values_come_over_those_of_the_chart(
    rendered: Render, tmp_path: Path
) -> None:
    router = _load(rendered("mirror"), "router", tmp_path)
    cache = _load(rendered("mirror"), "cache", tmp_path)

    assert isinstance(router, RouterSettings)
    assert router.near_cache.max_bytes == 134_217_728
    assert (router.server.drain_ms, router.server.stop_grace_ms) == (2000, 120_000)
    assert (cache.server.drain_ms, cache.server.stop_grace_ms) == (2000, 30_000)
    assert router.telemetry.log_level == "DEBUG"


def test_a_pod_has_time_for_all_that_a_service_does_at_its_end(rendered: Render) -> None:
    def grace(service: str) -> int:
        return int(_pod(rendered("mirror"), service)["terminationGracePeriodSeconds"])

    # Leaving the DNS 5, drain 2, calls under way 120 or 30, closing 15.
    assert grace("router") == 142
    assert grace("cache") == 52


def test_a_change_of_settings_replaces_the_pods_it_concerns() -> None:
    def sums(values: dict[str, object]) -> dict[str, str]:
        found = {}
        for part in chart.render(values):
            if part["kind"] in ("Deployment", "StatefulSet"):
                spec = part["spec"]
                assert isinstance(spec, dict)
                annotations = spec["template"]["metadata"].get("annotations", {})
                found[chart.identifier(part)] = annotations.get("checksum/config", "")
        return found

    before = sums({})
    router = sums({"config": {"router": {"events": {"linger_ms": 20}}}})
    common = sums({"config": {"common": {"telemetry": {"log_level": "DEBUG"}}}})

    assert {name for name in before if before[name] != router[name]} == {
        "Deployment/infermesh-router"
    }
    assert {name.rsplit("-", 1)[1] for name in before if before[name] != common[name]} == set(
        SERVICES
    )


def test_the_database_may_be_named_by_a_secret_alone(tmp_path: Path) -> None:
    secret = {"name": "given", "urlKey": "url", "passwordKey": "password"}
    objects = chart.render({"externalDatabase": {"enabled": True, "existingSecret": secret}})
    (entry,) = [
        entry
        for entry in _pod(objects, "analytics")["containers"][0]["env"]
        if entry["name"] == "INFERMESH_ANALYTICS__DATABASE_URL"
    ]
    path = tmp_path / "infermesh.yaml"
    path.write_text(_file(objects, "infermesh-config", "infermesh.yaml"), "utf-8")
    url = "postgresql+psycopg://someone@db.example.com:5433/ledger"

    settings = load_settings(
        AnalyticsSettings,
        "analytics",
        environment={"INFERMESH_CONFIG": str(path), entry["name"]: url},
    )

    assert entry["valueFrom"] == {"secretKeyRef": {"name": "given", "key": "url"}}
    assert settings.database_url == url
    assert settings.database_password_file == Path("/run/secrets/infermesh-database/password")


def test_envoy_takes_its_parameters(
    case: str, rendered: Render, tmp_path: Path, certificates: Path
) -> None:
    text = _file(rendered(case), "infermesh-envoy", "parameters.yaml")
    values = yaml.safe_load(text)
    assert values["descriptor_path"] == "/usr/share/infermesh/infermesh.binpb"
    # Certificates that exist, in place of those of the pod.
    local = text.replace("/run/secrets/", f"{certificates}/")
    values = yaml.safe_load(local) | {"descriptor_path": str(descriptor_path())}

    given, made = tmp_path / "given", tmp_path / "made"
    given.mkdir()
    made.mkdir()
    (given / "parameters.yaml").write_text(yaml.safe_dump(values), "utf-8")
    (init,) = _pod(rendered(case), "envoy")["initContainers"]
    places = {"/etc/infermesh-envoy": str(given), "/bootstrap": str(made), "python": PYTHON}
    command = [places.get(word, word) for word in init["command"]]
    subprocess.run(command, check=True)
    bootstrap = made / "bootstrap.yaml"
    done = subprocess.run(
        [str(envoy_binary()), "--mode", "validate", "-c", str(bootstrap), "--log-level", "error"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath},
    )

    assert done.returncode == 0, done.stderr


def test_what_envoy_listens_on_is_what_is_open(case: str, rendered: Render) -> None:
    objects = rendered(case)
    values = yaml.safe_load(_file(objects, "infermesh-envoy", "parameters.yaml"))
    open_ports = {
        port["name"]: port["containerPort"]
        for port in _pod(objects, "envoy")["containers"][0]["ports"]
    }
    (service,) = [p for p in objects if chart.identifier(p) == "Service/infermesh-envoy"]
    spec = service["spec"]
    assert isinstance(spec, dict)

    assert {port["targetPort"] for port in spec["ports"]} == set(open_ports) - {"stats"}
    assert values["stats_port"] == open_ports["stats"]


def test_an_envoy_has_time_to_drain_before_it_is_killed() -> None:
    pod = _pod(chart.render({"envoy": {"drainSeconds": 7, "stopGraceSeconds": 50}}), "envoy")
    (container,) = pod["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]

    assert command[-2:] == ["--notice-seconds=7", "--seconds=57"]
    assert pod["terminationGracePeriodSeconds"] == 67
    assert container["args"][container["args"].index("--drain-time-s") + 1] == "7"
