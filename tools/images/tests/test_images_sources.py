"""An image is made anew when something of it has changed, and only then."""

from dataclasses import replace
from pathlib import Path

import pytest

from tools.images.catalogue import Image, catalogue
from tools.images.locks import ROOT
from tools.images.sources import copied, fingerprint, sources

IMAGE = Image("one", "mesh/one:1", Path("one.Dockerfile"), {"SERVICE": "one"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("services/one/a.py", "services/two/b.py", "services/one/tests/c.py", "x.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    text = "FROM a AS b\nCOPY services/${SERVICE} \\\n  x.lock /there/\nCOPY --from=b /c /c\n"
    (tmp_path / "one.Dockerfile").write_text(text)
    return tmp_path


def test_files_are_those_that_are_copied_from_the_context(root: Path) -> None:
    found = [str(file.relative_to(root)) for file in sources(IMAGE, root)]
    assert found == ["one.Dockerfile", "services/one/a.py", "x.lock"]
    assert list(copied((root / "one.Dockerfile").read_text()))[-1] == ("/c", "b")


@pytest.mark.parametrize("name", ["one.Dockerfile", "services/one/a.py", "x.lock"])
def test_a_change_of_one_of_them_changes_the_fingerprint(root: Path, name: str) -> None:
    before = fingerprint(IMAGE, root)
    with (root / name).open("a") as file:
        file.write("# changed\n")
    assert fingerprint(IMAGE, root) != before


def test_arguments_and_tag_are_part_of_it_and_other_files_are_not(root: Path) -> None:
    before = fingerprint(IMAGE, root)
    assert fingerprint(replace(IMAGE, reference="mesh/one:2"), root) != before
    assert fingerprint(replace(IMAGE, arguments={"SERVICE": "two"}), root) != before
    (root / "services/two/b.py").write_text("changed")
    (root / "services/one/tests/c.py").write_text("changed")
    assert fingerprint(IMAGE, root) == before


def test_a_service_is_made_of_its_own_code_and_the_libraries() -> None:
    (router,) = [image for image in catalogue(ROOT) if image.key == "router"]
    tops = {"/".join(file.relative_to(ROOT).parts[:2]) for file in sources(router, ROOT)}
    assert {"libs/common", "libs/protos", "services/router"} <= tops
    assert "services/cache" not in tops
