"""Which packages of the workspace, and which others, an image needs. Standard library only: it also
runs while an image is built, where nothing is installed yet.

    python workspace.py /source infermesh-router      # the folders to make wheels of, one a line
"""

import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A dependency as a pyproject.toml states it.

    Attributes:
        name: normalised, see `normal`.
        extras: what is asked for beyond the package itself.
    """

    name: str
    extras: frozenset[str]


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the workspace.

    Attributes:
        name: normalised.
        folder: with its pyproject.toml.
        requires: always.
        extras: requirements by the name of the extra.
    """

    name: str
    folder: Path
    requires: tuple[Requirement, ...]
    extras: Mapping[str, tuple[Requirement, ...]]


@dataclass(frozen=True, slots=True)
class Needs:
    """What an image is made of.

    Attributes:
        packages: of the workspace; those that others depend on come first.
        others: names of packages that are not of the workspace and stand in a pyproject.toml.
    """

    packages: tuple[Package, ...]
    others: frozenset[str]


def normal(name: str) -> str:
    """A package's name in the form in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement(text: str) -> Requirement:
    """Reads `name[extra,...]`; versions and markers are the locks' business.

    Raises:
        ValueError: it does not begin with a name.
    """
    found = _REQUIREMENT.match(text)
    if found is None:
        raise ValueError(f"not a requirement: {text!r}")
    extras = frozenset(normal(extra.strip()) for extra in (found[2] or "").split(",") if extra)
    return Requirement(normal(found[1]), extras)


def read_workspace(root: Path) -> dict[str, Package]:
    """All packages below `root`, by name."""
    files = [*root.glob("libs/*/pyproject.toml"), *root.glob("services/*/pyproject.toml")]
    files += root.glob("deploy/*/pyproject.toml")
    packages = [_package(file) for file in sorted(files)]
    return {package.name: package for package in packages}


def needs(workspace: Mapping[str, Package], name: str) -> Needs:
    """Everything that the package of that name runs on.

    Raises:
        KeyError: the workspace has no such package, or it has not an extra that is asked for.
    """
    order: list[Package] = []
    others: set[str] = set()
    done: set[tuple[str, str]] = set()

    def visit(wanted: Requirement) -> None:
        package = workspace.get(wanted.name)
        if package is None:
            others.add(wanted.name)
            return
        for part in ("", *sorted(wanted.extras)):
            if (package.name, part) in done:
                continue
            done.add((package.name, part))
            for each in package.extras[part] if part else package.requires:
                visit(each)
        if package not in order:
            order.append(package)

    if name not in workspace:
        raise KeyError(name)
    visit(Requirement(name, frozenset()))
    return Needs(tuple(order), frozenset(others))


def _package(file: Path) -> Package:
    project = tomllib.loads(file.read_text("utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    return Package(
        name=normal(project["name"]),
        folder=file.parent,
        requires=tuple(map(requirement, project.get("dependencies", []))),
        extras={normal(extra): tuple(map(requirement, these)) for extra, these in extras.items()},
    )


def main(root: str, name: str) -> int:
    """Prints the folders of the packages that `name` consists of."""
    for package in needs(read_workspace(Path(root)), name).packages:
        print(package.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
