"""`infermesh-local`, when it is installed.

It depends on this package and on every service, so it is looked for when a command needs it and
is no dependency of this one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from infermesh.cli.local_mesh import (
    Finding,
    LocalMesh,
    LocalMeshFailed,
    MeshInfo,
    MeshStatus,
    Progress,
)

PACKAGE = "infermesh_local"


def load_installed(state_dir: Path | None, package: str = PACKAGE) -> LocalMesh | None:
    """The installed local mode's mesh.

    Args:
        state_dir: folder of its state; None: the default one.
        package: that offers it.

    Returns:
        None when local mode is not installed.

    Raises:
        LocalMeshFailed: it is installed incompletely, or its settings cannot be used.
    """
    try:
        module = import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            return None
        raise LocalMeshFailed(
            f"infermesh-local is installed without {error.name}: pip install infermesh-local"
        ) from error
    return InstalledMesh(module, state_dir)


class InstalledMesh:
    """Hands everything on to `infermesh_local.LocalMesh`, and its errors back.

    Args:
        module: infermesh_local.
        state_dir: folder of its state; None: the default one.

    Raises:
        LocalMeshFailed: its settings cannot be used.
    """

    def __init__(self, module: ModuleType, state_dir: Path | None) -> None:
        self._module = module
        with self._failing():
            self._mesh = module.LocalMesh(state_dir)

    def up(
        self,
        *,
        port: int | None,
        foreground: bool,
        progress: Progress,
        ready: Callable[[MeshInfo], None],
    ) -> None:
        """Starts it."""
        with self._failing():
            options = self._module.UpOptions(port=port, foreground=foreground)
            self._mesh.up(options, progress, ready)

    def down(self, progress: Progress) -> None:
        """Stops everything."""
        with self._failing():
            self._mesh.down(progress)

    def status(self) -> MeshStatus:
        """What runs."""
        with self._failing():
            status: MeshStatus = self._mesh.status()
            return status

    def logs(self, process: str | None, lines: int, follow: bool) -> Iterator[str]:
        """Lines of the logs."""
        with self._failing():
            yield from self._mesh.logs(process, lines, follow)

    def doctor(self) -> Sequence[Finding]:
        """Looks at everything the mesh needs."""
        with self._failing():
            findings: Sequence[Finding] = self._mesh.doctor()
            return findings

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except self._module.LocalMeshError as error:
            raise LocalMeshFailed(str(error)) from error
