"""The bridge to the installed local mode: the real one, with stand-ins for the services."""

from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

import infermesh_local
from infermesh.cli.installed_mesh import InstalledMesh, load_installed
from infermesh.cli.local_mesh import LocalMesh, LocalMeshFailed, MeshInfo, MeshStatus
from infermesh_local.testing import StandIn, StandInBlueprint


def test_the_installed_local_mode_answers(tmp_path: Path) -> None:
    mesh = load_installed(tmp_path / "state")
    assert mesh is not None
    status = mesh.status()
    assert (status.running, status.ready, status.info) == (False, False, None)
    assert list(status.processes) == [] and list(status.left_behind) == []
    assert any(finding.what.startswith("Python 3") for finding in mesh.doctor())
    with pytest.raises(LocalMeshFailed, match="No mesh is running"):
        mesh.down(print)
    with pytest.raises(LocalMeshFailed, match="no process nonsense"):
        list(mesh.logs("nonsense", 1, False))


def test_what_is_not_installed_is_no_error(tmp_path: Path) -> None:
    assert load_installed(tmp_path, "a_package_nobody_has") is None


def test_what_is_installed_incompletely_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed_mesh.py").write_text("import a_package_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LocalMeshFailed, match="without a_package_nobody_has"):
        load_installed(tmp_path, "half_installed_mesh")


def local_mode_with(blueprint: StandInBlueprint) -> ModuleType:
    """infermesh_local, which starts other processes."""
    module = ModuleType("local_mode_of_a_test")
    names = {
        "LocalMesh": partial(infermesh_local.LocalMesh, blueprint=blueprint),
        "LocalMeshError": infermesh_local.LocalMeshError,
        "UpOptions": infermesh_local.UpOptions,
    }
    vars(module).update(names)
    return module


def test_a_mesh_goes_up_and_down(tmp_path: Path) -> None:
    blueprint = StandInBlueprint(of=((StandIn("one"),), (StandIn("two", needs="one"),)))
    mesh: LocalMesh = InstalledMesh(local_mode_with(blueprint), tmp_path / "state")
    steps: list[str] = []
    became: list[MeshInfo] = []
    mesh.up(port=None, foreground=False, progress=steps.append, ready=became.append)
    try:
        status = mesh.status()
        assert (status.running, status.ready) == (True, True)
        assert [(each.name, each.ready) for each in status.processes] == [
            ("one", True),
            ("two", True),
        ]
        assert [info.url for info in became] == [status.info.url if status.info else None]
        assert "two started" in list(mesh.logs("two", 10, False))
        with pytest.raises(LocalMeshFailed, match="running already"):
            mesh.up(port=None, foreground=False, progress=steps.append, ready=became.append)
    finally:
        mesh.down(steps.append)
    assert mesh.status().running is False
    assert "starting one" in steps and len(became) == 1


def test_a_process_that_fails_is_told_with_its_log(tmp_path: Path) -> None:
    blueprint = StandInBlueprint(of=((StandIn("sick", flags=("--fail", "boom")),),))
    mesh = InstalledMesh(local_mode_with(blueprint), tmp_path / "state")
    with pytest.raises(LocalMeshFailed, match="(?s)sick did not come up.*\n  boom"):
        mesh.up(port=None, foreground=True, progress=print, ready=print)
    assert mesh.status().running is False


def test_what_local_mode_reports_has_the_shape_the_commands_read(tmp_path: Path) -> None:
    # mypy checks these assignments: the bridge itself cannot be checked, for it imports by name.
    mesh = infermesh_local.LocalMesh(tmp_path / "state")
    status: MeshStatus = mesh.status()
    info: MeshInfo | None = mesh.status().info
    assert (status.ready, info) == (False, None)
