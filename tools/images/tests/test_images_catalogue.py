"""The images there are, and what is said of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.images.__main__ import Built, build, main, table
from tools.images.builders import Buildah
from tools.images.catalogue import (
    SERVICE_LIMIT_MB,
    WITH_MODELS,
    CatalogueError,
    Image,
    catalogue,
    chosen,
)
from tools.images.locks import ROOT
from tools.images.sizes import Size

MB = 10**6


def test_every_service_has_an_image_with_a_limit() -> None:
    images = {image.key: image for image in catalogue(ROOT)}
    services = [file.parent.name for file in ROOT.glob("services/*/pyproject.toml")]
    assert services
    for service in services:
        limit = None if service in WITH_MODELS else SERVICE_LIMIT_MB
        assert images[service].limit_mb == limit
        assert images[service].arguments["SERVICE"] == service


def test_every_image_has_its_dockerfile_and_an_exact_tag() -> None:
    for image in catalogue(ROOT):
        assert (ROOT / image.dockerfile).is_file()
        assert image.reference.partition(":")[2] not in ("", "latest")


def test_images_for_tests_are_left_out_unless_they_are_wanted() -> None:
    images = catalogue(ROOT)
    assert not any(image.for_tests for image in chosen(images, [], tests=False))
    assert chosen(images, [], tests=True) == images
    assert [image.key for image in chosen(images, ["redis"], tests=False)] == ["redis"]
    with pytest.raises(CatalogueError, match="no image rooter; there are .*router"):
        chosen(images, ["rooter"], tests=False)


def test_a_chart_without_a_version_is_named(tmp_path: Path) -> None:
    for project in ("deploy/envoy", "libs/local", "libs/common"):
        (tmp_path / project).mkdir(parents=True)
        (tmp_path / project / "pyproject.toml").write_text('[project]\nversion = "1"\n')
    with pytest.raises(CatalogueError, match="redis/Chart.yaml states no appVersion"):
        catalogue(tmp_path)


def built(added_mb: float, limit_mb: float | None) -> Built:
    image = Image("router", "infermesh/router:1", Path("x"), limit_mb=limit_mb)
    return Built(image, Size(200 * MB, int(added_mb * MB)), 61.2)


def test_an_image_above_its_limit_is_too_large() -> None:
    assert built(120.1, 120).too_large
    assert not built(120.0, 120).too_large
    assert not built(500.0, None).too_large


def test_the_table_says_what_was_measured() -> None:
    lines = table([built(98.25, 120), built(121, 120)]).splitlines()
    assert lines[1].split() == ["infermesh/router:1", "200.0", "98.2", "120", "61", "s"]
    assert lines[2].endswith("TOO LARGE")


class Archives(Buildah):
    """Builds nothing; its archives are those of the fixture."""

    def __init__(self, save: Callable[[Path], None]) -> None:
        base = '{"OCIv1": {"rootfs": {"diff_ids": ["1"]}}}'
        super().__init__(lambda command: base, {})
        self._write = save

    def save(self, image: Image, archive: Path) -> None:
        """Writes one that stands for any image."""
        self._write(archive)


def test_what_is_built_is_measured_in_its_archive(
    tmp_path: Path, save: Callable[[Path], None]
) -> None:
    (made,) = build(chosen(catalogue(ROOT), ["cache"], tests=False), Archives(save), tmp_path)
    assert made.size == Size(base=1000, added=423)
    assert (tmp_path / "cache.tar").exists()


def test_the_list_needs_no_builder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "router"]) == 0
    assert capsys.readouterr().out.split() == ["router", "infermesh/router:0.1.0"]


def test_a_name_that_is_none_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rooter"]) == 2
    assert "rooter" in capsys.readouterr().err
