"""Archives of images, as `docker save` writes them."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _save(file: Path) -> None:
    manifest = [{"Config": "config.json", "Layers": ["one/layer.tar", "two", "three"]}]
    config = {"rootfs": {"diff_ids": ["1", "2", "3"]}}
    files = {
        "one/layer.tar": _tar({"a": b"x" * 1000}),
        "two": _tar({"b": b"x" * 20, "c": b"x" * 3}),
        "three": gzip.compress(_tar({"d": b"x" * 400})),
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    file.write_bytes(_tar(files))


@pytest.fixture
def save() -> Callable[[Path], None]:
    """Writes an archive of layers "1" (1000 bytes), "2" (23) and, compressed, "3" (400)."""
    return _save


@pytest.fixture
def tar() -> Callable[[dict[str, bytes]], bytes]:
    """Makes a tar of files."""
    return _tar
