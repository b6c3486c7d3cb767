"""Envoy accepts what is rendered, whatever the combination of parameters."""

import itertools
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from infermesh_envoy import envoy_binary, parameters_from, render, secret_files

OPTIONS = list(itertools.product([False, True], repeat=4))


def _validate(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "bootstrap.yaml"
    file.write_text(text)
    command = [str(envoy_binary()), "--mode", "validate", "-c", str(file), "-l", "warning"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("cluster_type", ["STATIC", "STRICT_DNS"])
@pytest.mark.parametrize(("tls", "tracing", "extras", "limits"), OPTIONS)
def test_envoy_accepts_every_combination_without_a_warning(
    required: Mapping[str, object],
    certificate: tuple[Path, Path],
    tmp_path: Path,
    cluster_type: str,
    tls: bool,
    tracing: bool,
    extras: bool,
    limits: bool,
) -> None:
    values: dict[str, object] = {**required, "cluster_type": cluster_type}
    if tls:
        values |= {"tls_cert_path": str(certificate[0]), "tls_key_path": str(certificate[1])}
        values |= {"mesh_cert_path": str(certificate[0]), "mesh_key_path": str(certificate[1])}
        values |= {"mesh_ca_path": str(certificate[0]), "sds_path": str(tmp_path)}
    if tracing:
        values |= {"otlp_host": "127.0.0.1", "otlp_port": 4317}
    if extras:
        values |= {"stats_address": "127.0.0.1", "stats_port": 9902, "admin_port": 9901}
        values |= {"upstream_health_checks": False, "retries": 0, "max_heap_bytes": 2**32}
    if limits:
        values |= {"requests_per_second": 10, "client_requests_per_second": 1}
    parameters = parameters_from(values)
    for name, text in secret_files(parameters).items():
        (tmp_path / name).write_text(text)
    result = _validate(render(parameters), tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[warning]" not in result.stderr


def test_envoy_does_not_start_without_the_descriptors(
    required: Mapping[str, object], tmp_path: Path
) -> None:
    values = {**required, "descriptor_path": str(tmp_path / "absent.binpb")}
    assert _validate(render(parameters_from(values)), tmp_path).returncode != 0
