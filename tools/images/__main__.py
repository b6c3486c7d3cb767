"""Builds images and says how large they are.

    python -m tools.images                        # those of a release
    python -m tools.images router cache           # some
    python -m tools.images --tests                # also those for clusters that can pull nothing
    INFERMESH_IMAGE_BUILDER=podman python -m tools.images

Exit status 1: one is larger than it may be, or cannot be built; 2: nothing can build here.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.images.builders import Builder, NoBuilder, find_builder, kit_folder
from tools.images.catalogue import CatalogueError, Image, catalogue, chosen
from tools.images.locks import ROOT
from tools.images.sizes import Size, measure


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built.

    Attributes:
        image: which.
        size: of it.
        seconds: that it took.
    """

    image: Image
    size: Size
    seconds: float

    @property
    def too_large(self) -> bool:
        """Whether it adds more to its base than it may."""
        return self.image.limit_mb is not None and self.size.added > self.image.limit_mb * 1e6


def build(images: Sequence[Image], builder: Builder, folder: Path) -> list[Built]:
    """Builds them one by one, with an archive of each in `folder`."""
    built = []
    for image in images:
        print(f"building {image.reference} with {builder.name}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        builder.build(image, ROOT)
        seconds = time.monotonic() - begun
        archive = folder / f"{image.key}.tar"
        archive.unlink(missing_ok=True)
        builder.save(image, archive)
        built.append(Built(image, measure(archive, builder.base_layers()), seconds))
    return built


def table(built: Sequence[Built]) -> str:
    """What was built, a line each."""
    lines = [f"{'image':32}{'base MB':>9}{'added MB':>10}{'limit':>7}{'built in':>10}"]
    for each in built:
        limit = "" if each.image.limit_mb is None else f"{each.image.limit_mb:.0f}"
        sizes = f"{each.size.base / 1e6:9.1f}{each.size.added / 1e6:10.1f}{limit:>7}"
        note = "  TOO LARGE" if each.too_large else ""
        lines.append(f"{each.image.reference:32}{sizes}{each.seconds:8.0f} s{note}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("images", nargs="*", help="which; none: all of a release")
    parser.add_argument("--tests", action="store_true", help="also those for tests")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--archives", type=Path, help="folder that keeps an archive of each")
    given = parser.parse_args(arguments)
    try:
        images = chosen(catalogue(ROOT), given.images, tests=given.tests)
        if given.list:
            print("\n".join(f"{image.key:12}{image.reference}" for image in images))
            return 0
        wanted = os.environ.get("INFERMESH_IMAGE_BUILDER")
        builder = find_builder(wanted, kit_folder(os.environ), os.environ)
    except (CatalogueError, NoBuilder) as error:
        print(error, file=sys.stderr)
        return 2
    if given.archives is not None:
        given.archives.mkdir(parents=True, exist_ok=True)
    keep = nullcontext(str(given.archives)) if given.archives else TemporaryDirectory()
    with keep as folder:
        try:
            built = build(images, builder, Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"{error.cmd[0]} ended with status {error.returncode}", file=sys.stderr)
            return 1
    print(table(built))
    return 1 if any(each.too_large for each in built) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
