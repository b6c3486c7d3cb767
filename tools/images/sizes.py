"""What an image adds to its base, measured in its archive: that is the same for every builder."""

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of the files in an image's layers, not compressed.

    Attributes:
        base: of the layers that are the base's.
        added: of those on top.
    """

    base: int
    added: int


def measure(archive: Path, base_layers: Sequence[str]) -> Size:
    """Measures an archive as `docker save` writes it.

    Args:
        archive: of one image.
        base_layers: digests of the base's layers, lowest first.

    Raises:
        ValueError: it is no such archive, or its image is not built on that base.
    """
    with tarfile.open(archive) as outer:
        manifests = json.load(_member(outer, "manifest.json"))
        if len(manifests) != 1:
            raise ValueError(f"{archive} holds {len(manifests)} images, not one")
        config = json.load(_member(outer, manifests[0]["Config"]))
        digests = list(config["rootfs"]["diff_ids"])
        count = len(base_layers)
        if digests[:count] != list(base_layers):
            raise ValueError(f"the image in {archive} is not built on the base that is here")
        sizes = [_layer(_member(outer, name)) for name in manifests[0]["Layers"]]
    return Size(sum(sizes[:count]), sum(sizes[count:]))


def _member(outer: tarfile.TarFile, name: str) -> IO[bytes]:
    file = outer.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file


def _layer(file: IO[bytes]) -> int:
    if file.read(2) == b"\x1f\x8b":
        file.seek(0)
        file = io.BytesIO(gzip.decompress(file.read()))
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as layer:
        return sum(member.size for member in layer if member.isfile())
