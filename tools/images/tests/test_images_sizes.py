"""Sizes of images."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.images.sizes import Size, measure


@pytest.fixture
def archive(tmp_path: Path, save: Callable[[Path], None]) -> Path:
    file = tmp_path / "image.tar"
    save(file)
    return file


def test_layers_on_top_of_the_base_are_counted_apart_also_compressed_ones(archive: Path) -> None:
    assert measure(archive, ["1"]) == Size(base=1000, added=423)
    assert measure(archive, ["1", "2"]) == Size(base=1023, added=400)


def test_an_image_on_another_base_is_an_error(archive: Path) -> None:
    with pytest.raises(ValueError, match="not built on the base"):
        measure(archive, ["0"])


def test_an_archive_of_several_images_is_an_error(
    tmp_path: Path, tar: Callable[[dict[str, bytes]], bytes]
) -> None:
    file = tmp_path / "two.tar"
    file.write_bytes(tar({"manifest.json": b"[{}, {}]"}))
    with pytest.raises(ValueError, match="2 images"):
        measure(file, [])
