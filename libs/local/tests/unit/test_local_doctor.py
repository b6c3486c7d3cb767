"""What the doctor finds."""

import os
import socket
import time
from pathlib import Path

import pytest
from infermesh_local import (
    Finding,
    Incomplete,
    LocalSettings,
    MeshInfo,
    MeshStatus,
    ProcessStatus,
    Severity,
)
from infermesh_local.doctor import (
    disk_finding,
    examine,
    package_finding,
    port_finding,
    process_finding,
    program_finding,
    python_finding,
    state_findings,
)
from infermesh_local.layout import StateLayout
from infermesh_local.resource_check import resource_findings

STOPPED = MeshStatus(running=False, info=None, processes=(), left_behind=())
TENANT = """
apiVersion: infermesh.dev/v1alpha1
kind: Tenant
metadata: {{name: {name}}}
spec: {{routePolicy: {policy}}}
"""


def severities(findings: list[Finding]) -> set[Severity]:
    """How bad they are."""
    return {finding.severity for finding in findings}


def test_a_sound_installation_without_a_mesh_has_no_errors(settings: LocalSettings) -> None:
    layout = StateLayout.at(settings.state_dir)
    findings = examine(layout, settings, STOPPED)
    assert Severity.ERROR not in severities(findings)
    assert not layout.root.exists(), "looking must not change anything"


def test_what_is_wrong_always_comes_with_what_to_do(
    settings: LocalSettings, tmp_path: Path
) -> None:
    layout = StateLayout.at(tmp_path / "state")
    layout.create()
    layout.secrets.chmod(0o755)
    status = MeshStatus(running=False, info=None, processes=(), left_behind=(11, 12))
    bad = [f for f in examine(layout, settings, status) if f.severity is not Severity.OK]
    assert any("11, 12" in finding.what for finding in bad)
    assert any("look into" in finding.what for finding in bad)
    assert all(finding.remedy for finding in bad)


def test_an_old_python_is_an_error() -> None:
    assert python_finding((3, 10)).severity is Severity.ERROR
    assert python_finding((3, 11)).severity is Severity.OK
    assert python_finding((4, 0)).severity is Severity.OK


def test_a_missing_program_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    def missing() -> Path:
        raise Incomplete("Envoy", "Install it.")

    assert program_finding("Envoy", missing).remedy == "Install it."
    path = tmp_path / "envoy"
    path.write_text("")
    path.chmod(0o600)
    assert program_finding("Envoy", lambda: path).remedy == f"chmod u+x {path}"
    path.chmod(0o700)
    assert program_finding("Envoy", lambda: path).severity is Severity.OK


def test_a_missing_package_is_an_error() -> None:
    finding = package_finding("no_such_package")
    assert finding.severity is Severity.ERROR and "no-such-package" in finding.remedy


def test_secrets_that_others_can_read_are_errors(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "open").write_text("x")
    (secrets / "open").chmod(0o640)
    (secrets / "closed").write_text("x")
    (secrets / "closed").chmod(0o600)
    found = list(state_findings(tmp_path, secrets))
    assert [f.remedy for f in found if f.severity is Severity.ERROR] == [
        f"chmod 600 {secrets / 'open'}"
    ]


def test_a_state_folder_that_others_can_write_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    found = list(state_findings(tmp_path, tmp_path / "secrets"))
    assert severities(found) == {Severity.WARNING}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_state_folder_of_somebody_else_is_an_error(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    found = list(state_findings(tmp_path, tmp_path / "secrets"))
    assert severities(found) == {Severity.ERROR}


def test_a_full_disk_is_a_warning(tmp_path: Path) -> None:
    assert disk_finding(tmp_path / "not" / "yet", 0).severity is Severity.OK
    assert disk_finding(tmp_path, 10**12).severity is Severity.WARNING


def test_a_default_port_that_is_taken_is_a_warning() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert port_finding(server.getsockname()[1]).severity is Severity.WARNING


def test_a_process_that_is_not_ready_is_an_error_with_the_reason(
    settings: LocalSettings, tmp_path: Path
) -> None:
    well = ProcessStatus("redis", "RUNNING", 1, 5, True, "")
    ill = ProcessStatus("cache", "BACKOFF", None, 0, False, "ended with code 2")
    assert process_finding(well).severity is Severity.OK
    assert "ended with code 2" in process_finding(ill).what
    info = MeshInfo(
        url="http://127.0.0.1:1",
        grpc_target="127.0.0.1:1",
        state_dir=tmp_path,
        config_file=tmp_path,
        resources_dir=tmp_path,
        secrets_dir=tmp_path,
        operator_key_file=tmp_path,
        tenant_key_files={},
        supervisor_pid=7,
    )
    status = MeshStatus(running=True, info=info, processes=(well, ill), left_behind=())
    findings = examine(StateLayout.at(tmp_path), settings, status)
    assert [f.remedy for f in findings if "cache is not" in f.what] == ["infermesh logs cache"]


def test_a_mesh_whose_ports_are_lost_is_an_error(settings: LocalSettings, tmp_path: Path) -> None:
    status = MeshStatus(running=True, info=None, processes=(), left_behind=())
    findings = examine(StateLayout.at(tmp_path), settings, status)
    assert any("ports are not known" in finding.what for finding in findings)


def test_refused_resources_are_named_with_their_age(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "dangling.yaml").write_text(TENANT.format(name="a", policy="nowhere"))
    (tmp_path / "wrong.yml").write_text(TENANT.format(name="UPPER", policy="default"))
    (tmp_path / "notes.txt").write_text("no resource: [")
    for name, seconds in (("broken.yaml", 7200), ("wrong.yml", 3 * 86400 + 5)):
        os.utime(tmp_path / name, (time.time() - seconds,) * 2)
    found = list(resource_findings(tmp_path))
    assert severities(found) == {Severity.ERROR}
    texts = [finding.what for finding in found]
    assert len(texts) == 3
    assert "broken.yaml (changed 2 h ago): cannot be read" in texts[0]
    assert "wrong.yml (changed 3 d ago): metadata.name" in texts[1]
    assert "Tenant a: names RoutePolicy nowhere" in texts[2]


def test_a_secret_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "provider.yaml").write_text("""
apiVersion: infermesh.dev/v1alpha1
kind: Provider
metadata: {name: p}
spec: {baseUrl: "http://127.0.0.1:1/v1", auth: {file: /no/such/file}}
""")
    found = list(resource_findings(tmp_path))
    assert [f.severity for f in found] == [Severity.ERROR]
    assert "/no/such/file" in found[0].what


def test_without_a_folder_there_is_nothing_to_find(tmp_path: Path) -> None:
    assert list(resource_findings(tmp_path / "missing")) == []
