"""What of the repository an image is made of, by the COPY lines of its Dockerfile."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from tools.images.catalogue import Image


def copied(dockerfile: str) -> Iterator[tuple[str, str]]:
    """(source, stage) of all that a Dockerfile copies; an empty stage is the build's context."""
    for line in re.findall(r"^COPY (.*)$", dockerfile.replace("\\\n", " "), re.MULTILINE):
        words = line.split()
        stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
        for word in words[:-1]:
            yield word, stage


def sources(image: Image, root: Path) -> list[Path]:
    """Files that the image is made of, its Dockerfile included, in a fixed order.

    Args:
        image: which.
        root: of the repository.
    """
    files = {root / image.dockerfile}
    for source, stage in copied((root / image.dockerfile).read_text("utf-8")):
        for name, value in image.arguments.items():
            source = source.replace(f"${{{name}}}", value)
        path = root / source
        if not stage:
            files |= {path} if path.is_file() else {each for each in path.rglob("*") if _in(each)}
    return sorted(files)


def fingerprint(image: Image, root: Path) -> str:
    """Changes when the image would: names and contents of its files, and its arguments."""
    digest = hashlib.sha256(repr((image.reference, sorted(image.arguments.items()))).encode())
    for file in sources(image, root):
        digest.update(f"\0{file.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _in(path: Path) -> bool:
    """Whether .dockerignore leaves it in; being wrong means only that an image is built in vain."""
    left_out = {"tests", "__pycache__"} & set(path.parts)
    return path.is_file() and not left_out and path.suffix not in (".pyc", ".md")
