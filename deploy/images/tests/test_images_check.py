"""What an image lacks is noticed when it is built."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.images.steps import check
from deploy.images.steps.check import imports, missing, used_by

SOURCE = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import only_for_types
else:
    import instead
from . import near
def late():
    from json import dumps, no_such_name
    import os.path
"""


def test_imports_inside_of_functions_count_and_those_for_types_do_not() -> None:
    assert set(imports(ast.parse(SOURCE))) == {
        ("typing", "TYPE_CHECKING"),
        ("instead", None),
        ("json", "dumps"),
        ("json", "no_such_name"),
        ("os.path", None),
    }


def test_what_cannot_be_imported_is_said() -> None:
    used = {("json", "dumps"), ("json", "no_such_name"), ("os", "path"), ("no_such_module", None)}
    problems = missing(used, frozenset())
    assert [problem.partition(":")[0] for problem in problems] == [
        "json.no_such_name",
        "no_such_module",
    ]
    assert missing({("no_such_module.part", "name")}, frozenset({"no_such_module"})) == []


def test_only_packages_of_the_mesh_are_looked_at(tmp_path: Path) -> None:
    for name in ("infermesh_x/a.py", "other/b.py", "infermesh_x-1.dist-info/c.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"import of_{name[0]}")
    assert used_by(tmp_path) == {("of_i", None)}


def install(site: Path, name: str, requires: str = "") -> None:
    folder = site / f"{name}-1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\n{requires}")


@pytest.mark.parametrize(("wants", "status"), [('extra == "cluster"', 0), ("", 1)])
def test_what_only_an_extra_needs_may_be_missing(tmp_path: Path, wants: str, status: int) -> None:
    marker = f"; {wants}" if wants else ""
    install(tmp_path, "infermesh-x", f"Requires-Dist: no-such-library {marker}\n")
    (tmp_path / "infermesh_x").mkdir()
    (tmp_path / "infermesh_x" / "__init__.py").write_text("import no_such_library")
    done = subprocess.run(
        [sys.executable, check.__file__, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert ("no_such_library" in done.stderr) == bool(status)
