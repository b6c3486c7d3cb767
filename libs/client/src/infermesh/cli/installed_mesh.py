"""`infermesh-local`, when it is installed.

It depends on this package and on every service, so it is looked for when a command needs it and
is no dependency of this one.
"""

from collections.abc import Iterator, Sequence
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


def load_installed(state_dir: Path | None) -> LocalMesh | None:
    """The installed local mode's mesh.

    Args:
        state_dir: folder of its state; None: the default one.

    Returns:
        None when local mode is not installed.

    Raises:
        LocalMeshFailed: it is installed incompletely, or its settings cannot be used.
    """
    try:
        module = import_module(PACKAGE)
    except ModuleNotFoundError as error:
        if error.name == PACKAGE:
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

    def up(self, port: int | None, progress: Progress) -> MeshInfo:
        """Starts it in the background."""
        with self._failing():
            info: MeshInfo = self._mesh.up(self._module.UpOptions(port=port), progress)
            return info

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
