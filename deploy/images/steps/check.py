"""Imports everything that the mesh's packages in an installation import, also inside of functions:
what is not there is noticed while the image is built, and not by the first request that needs it.
Standard library only.

    /venv/bin/python check.py /venv/lib/python3.11/site-packages

An extra that was not asked for (`infermesh-common[kubernetes]`) may be missing.
"""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

_EXTRA = re.compile(r"^([A-Za-z0-9._-]+).*;.*\bextra\s*==")


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """(module, name or None) of each absolute import; those for type checkers only are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(ast.Module([other], []))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and node.module:
                for alias in node.names:
                    yield node.module, alias.name
        else:
            yield from imports(node)


def used_by(folder: Path) -> set[tuple[str, str | None]]:
    """What the mesh's packages below `folder` import."""
    used: set[tuple[str, str | None]] = set()
    for package in sorted(folder.glob("infermesh*")):
        if package.suffix != ".dist-info":
            for file in sorted(package.rglob("*.py")):
                used |= set(imports(ast.parse(file.read_text("utf-8"), str(file))))
    return used


def missing(used: set[tuple[str, str | None]], optional: frozenset[str]) -> list[str]:
    """A sentence for each import that fails."""
    problems = []
    for module, name in sorted(used, key=lambda each: (each[0], each[1] or "")):
        if module.partition(".")[0] in optional:
            continue
        try:
            found = importlib.import_module(module)
            if name is not None and name != "*" and not hasattr(found, name):
                importlib.import_module(f"{module}.{name}")
        except ImportError as error:
            problems.append(f"{module}{f'.{name}' if name else ''}: {error}")
    return problems


def extras_left_out(installed: list[Distribution]) -> frozenset[str]:
    """Names of what only an extra of the mesh's packages needs and nobody has asked for."""
    present = {_normal(each.metadata["Name"]) for each in installed}
    optional = set()
    for each in installed:
        if _normal(each.metadata["Name"]).startswith("infermesh"):
            for text in each.requires or []:
                found = _EXTRA.match(text)
                if found:
                    optional.add(_normal(found[1]))
    return frozenset(optional - present)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def main(folder: str) -> int:
    """Says what is missing; 1 when something is."""
    installed = list(distributions(path=[folder]))
    problems = missing(used_by(Path(folder)), extras_left_out(installed))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
