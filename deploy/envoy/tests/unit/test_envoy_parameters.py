"""Parameters are complete, of the right kind and in range, or are refused with a reason."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from infermesh_envoy import (
    ParameterError,
    default_values,
    descriptor_path,
    envoy_binary,
    parameters_from,
    render,
    secret_files,
)
from infermesh_envoy.__main__ import main


def test_what_is_required_and_the_defaults_are_enough(required: Mapping[str, object]) -> None:
    parameters = parameters_from(required)
    assert parameters.router_port == 1
    assert parameters.max_request_bytes == default_values()["max_request_bytes"] == 20 * 2**20


def test_every_missing_and_unknown_name_is_reported(required: Mapping[str, object]) -> None:
    values = {**required, "rooter_port": 1}
    del values["router_port"], values["cluster_type"]
    with pytest.raises(ParameterError) as caught:
        parameters_from(values)
    assert set(caught.value.problems) == {
        "rooter_port: unknown",
        "router_port: missing",
        "cluster_type: missing",
    }


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("router_port", "8080", "must be int"),
        ("router_port", True, "must be int"),
        ("router_port", 0, "from 1 to 65535"),
        ("listen_port", 65536, "from 0 to 65535"),
        ("router_host", "", "must not be empty"),
        ("router_host", "router.svc", "IP address with cluster_type STATIC"),
        ("cluster_type", "EDS", "must be one of STATIC, STRICT_DNS"),
        ("cluster_type", ["STATIC"], "must be one of STATIC, STRICT_DNS"),
        ("admin_address", "0.0.0.0", "loopback"),
        ("admin_address", "localhost", "IP address"),
        ("listen_address", "edge", "IP address"),
        ("tls_cert_path", "/tls/tls.crt", "both or none"),
        ("otlp_port", 4317, "both or none"),
        ("stats_port", 9901, "both or none"),
        ("mesh_ca_path", "/tls/ca.crt", "all or none"),
        ("retries", -1, "from 0"),
        ("retry_budget_percent", 101, "from 0 to 100"),
        ("max_heap_bytes", 0, "from 1"),
        ("requests_per_second", 0, "from 1"),
        ("client_requests_per_second", 2.5, "must be int or null"),
        ("trace_sampling_percent", 101, "from 0 to 100"),
        ("unary_timeout_s", 0, "from 0.001"),
        ("unary_timeout_s", float("nan"), "from 0.001"),
        ("stream_max_duration_s", 1e6, "to 86400"),
        ("max_request_bytes", 2**31, "to 2147483647"),
        ("max_request_bytes", -1, "from 1"),
        ("upstream_health_checks", 1, "must be bool"),
        ("tls_cert_path", 3, "must be str or null"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    required: Mapping[str, object], name: str, value: object, says: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        parameters_from({**required, name: value})
    assert any(name in problem and says in problem for problem in caught.value.problems)


def test_a_stats_listener_needs_to_know_the_admin_port(required: Mapping[str, object]) -> None:
    with pytest.raises(ParameterError, match="admin_port other than 0"):
        parameters_from({**required, "stats_address": "0.0.0.0", "stats_port": 9902})


@pytest.mark.parametrize(
    "files",
    [
        {"tls_cert_path": "/a/tls.crt", "tls_key_path": "/a/tls.key"},
        {"mesh_cert_path": "/b/c", "mesh_key_path": "/b/k", "mesh_ca_path": "/b/ca"},
    ],
)
def test_certificates_need_files_that_name_them(
    required: Mapping[str, object], files: dict[str, object]
) -> None:
    with pytest.raises(ParameterError, match="sds_path: must say"):
        parameters_from({**required, **files})
    assert secret_files(parameters_from({**required, **files, "sds_path": "/sds"}))


def test_a_certificate_is_read_again_when_its_folder_changes(
    required: Mapping[str, object],
) -> None:
    given = {"tls_cert_path": "/a/tls.crt", "tls_key_path": "/a/tls.key"}
    mesh = {"mesh_cert_path": "/b/c", "mesh_key_path": "/b/k", "mesh_ca_path": "/d/ca"}
    values = {**required, **given, **mesh, "sds_path": "/sds"}
    files = secret_files(parameters_from(values))
    secrets = {name: yaml.safe_load(text)["resources"][0] for name, text in files.items()}
    assert {name: secret["name"] for name, secret in secrets.items()} == {
        "edge.yaml": "edge",
        "mesh.yaml": "mesh",
        "mesh-ca.yaml": "mesh-ca",
    }
    assert secrets["edge.yaml"]["tls_certificate"]["watched_directory"] == {"path": "/a"}
    assert secrets["mesh-ca.yaml"]["validation_context"] == {
        "trusted_ca": {"filename": "/d/ca"},
        "watched_directory": {"path": "/d"},
    }
    assert secret_files(parameters_from(required)) == {}


def test_names_are_accepted_with_dns(required: Mapping[str, object]) -> None:
    dns = {"cluster_type": "STRICT_DNS", "router_host": "router.mesh.svc"}
    assert parameters_from({**required, **dns}).router_host == "router.mesh.svc"


def test_whole_numbers_are_durations_too(required: Mapping[str, object]) -> None:
    assert "timeout: 8.000s" in render(parameters_from({**required, "unary_timeout_s": 7}))


def test_equal_parameters_give_equal_text(required: Mapping[str, object]) -> None:
    assert render(parameters_from(required)) == render(parameters_from(required))


def test_no_value_can_break_out_of_its_place(required: Mapping[str, object]) -> None:
    nasty = '/tmp/a "b"\n  c: {d} %REQ(authorization)% {{ p }}'
    bootstrap = yaml.safe_load(render(parameters_from({**required, "descriptor_path": nasty})))
    manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    transcoder = manager["typed_config"]["http_filters"][2]["typed_config"]
    assert transcoder["proto_descriptor"] == nasty


def test_the_files_that_come_along_are_there() -> None:
    assert os.access(envoy_binary(), os.X_OK)
    assert descriptor_path().stat().st_size > 0


def test_the_command_prints_the_bootstrap(
    required: Mapping[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump(dict(required)))
    assert main([str(file)]) == 0
    assert capsys.readouterr().out == render(parameters_from(required))


def test_of_a_folder_of_parameters_the_later_files_win(
    required: Mapping[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**required, "listen_port": 1}))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump({"listen_port": 8089}))
    (tmp_path / "c.yaml").write_text("{}")
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == render(parameters_from({**required, "listen_port": 8089}))


def test_the_command_writes_what_envoy_reads_into_a_folder(
    required: Mapping[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "parameters.yaml", tmp_path / "out"
    given = {"tls_cert_path": "/a/tls.crt", "tls_key_path": "/a/tls.key"}
    file.write_text(yaml.safe_dump({**required, **given}))
    assert main([str(file), "--to", str(folder)]) == 2
    assert str(folder) in capsys.readouterr().err
    folder.mkdir()
    assert main([str(file), "--to", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == {"bootstrap.yaml", "edge.yaml"}
    assert str(folder / "edge.yaml") in (folder / "bootstrap.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("router_port: 1\nnonsense: 2\n", "nonsense: unknown"),
        ("- a\n", "must be a mapping"),
        ("1: a\n", "must be a mapping"),
        ("a: [", "not YAML"),
        ("", "must be a mapping"),
    ],
)
def test_the_command_says_what_is_wrong_and_exits_2(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(text)
    assert main([str(file)]) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.out == ""


def test_the_command_exits_2_without_a_readable_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "absent.yaml")]) == 2
    assert "No such file" in capsys.readouterr().err
