"""What an image is made of."""

from pathlib import Path

import pytest

from deploy.images.steps.workspace import main, needs, read_workspace, requirement


def write(root: Path, folder: str, name: str, requires: list[str], extras: str = "") -> None:
    file = root / folder / "pyproject.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[project]\nname = "{name}"\ndependencies = {requires}\n{extras}')


@pytest.fixture
def root(tmp_path: Path) -> Path:
    extras = '[project.optional-dependencies]\ncluster = ["Kube_Client"]\n'
    write(tmp_path, "libs/protos", "mesh-protos", ["protobuf>=7"])
    write(tmp_path, "libs/common", "mesh_common", ["mesh-protos", "redis[hiredis]"], extras)
    write(tmp_path, "services/one", "mesh-one", ["mesh-common[cluster]", "aiohttp ; os_name"])
    write(tmp_path, "services/two", "mesh-two", ["mesh-common"])
    return tmp_path


def test_what_is_needed_comes_before_what_needs_it(root: Path) -> None:
    found = needs(read_workspace(root), "mesh-one")
    assert [each.name for each in found.packages] == ["mesh-protos", "mesh-common", "mesh-one"]
    assert found.others == {"protobuf", "redis", "kube-client", "aiohttp"}


def test_an_extra_is_needed_only_by_whom_asks_for_it(root: Path) -> None:
    assert "kube-client" not in needs(read_workspace(root), "mesh-two").others


def test_a_package_or_an_extra_that_is_not_there_is_an_error(root: Path) -> None:
    workspace = read_workspace(root)
    with pytest.raises(KeyError, match="mesh-three"):
        needs(workspace, "mesh-three")
    write(root, "services/four", "mesh-four", ["mesh-common[nothing]"])
    with pytest.raises(KeyError, match="nothing"):
        needs(read_workspace(root), "mesh-four")


def test_folders_are_printed_a_line_each(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(str(root), "mesh-two") == 0
    assert capsys.readouterr().out.splitlines() == [
        str(root / folder) for folder in ("libs/protos", "libs/common", "services/two")
    ]


def test_a_requirement_begins_with_a_name() -> None:
    assert requirement("A.b_c[X, y]>=1").name == "a-b-c"
    assert requirement("A.b_c[X, y]>=1").extras == {"x", "y"}
    with pytest.raises(ValueError, match="not a requirement"):
        requirement(">=1")
