"""What every image of the mesh has in common."""

import re
from pathlib import Path

import pytest

from tools.images.sources import copied

FOLDER = Path(__file__).parents[1]
ROOT = FOLDER.parents[1]
RELEASED = sorted(FOLDER.glob("*.Dockerfile"))
ALL = [*RELEASED, *sorted((ROOT / "tests/cluster/images").glob("*.Dockerfile"))]


def named(file: Path) -> str:
    return file.name


@pytest.mark.parametrize("file", ALL, ids=named)
def test_no_image_names_a_registry_or_a_moving_tag(file: Path) -> None:
    text = file.read_text()
    assert re.findall(r"^ARG BASE=(.*)$", text, re.MULTILINE) == ["python:3.11-slim-bookworm"]
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert base == "${BASE}" or base in re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE)
    assert not re.search(r"https?://|--index-url|--extra-index-url|:latest", text)


@pytest.mark.parametrize("file", ALL, ids=named)
def test_everything_that_is_copied_in_is_in_the_context(file: Path) -> None:
    for source, stage in copied(file.read_text()):
        if not stage:
            there = ROOT / re.sub(r"\$\{SERVICE\}", "router", source)
            assert there.exists(), source


@pytest.mark.parametrize("file", RELEASED, ids=named)
def test_a_released_image_is_not_root_and_is_described(file: Path) -> None:
    final = "FROM" + file.read_text().rpartition("FROM")[2]
    assert "USER 65532:65532" in final
    assert re.search(r'^ENTRYPOINT \["', final, re.MULTILINE)
    assert "HEALTHCHECK" not in final
    assert {"title", "description", "version", "revision", "licenses", "vendor"} == set(
        re.findall(r"org\.opencontainers\.image\.(\w+)=", final)
    )


@pytest.mark.parametrize("file", RELEASED, ids=named)
def test_what_builds_stays_out_of_a_released_image(file: Path) -> None:
    final = file.read_text().rpartition("FROM")[2]
    assert all(stage for _, stage in copied(final))
    assert "/tools" not in final and "--mount" not in final
    assert not re.search(r"pip install|apt-get|compileall", final)
