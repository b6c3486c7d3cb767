"""What may keep the mesh from working, and what to do about it."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from infermesh_local.blueprint import installed_envoy, redis_binary
from infermesh_local.config_file import SERVICES
from infermesh_local.errors import Incomplete
from infermesh_local.layout import PRIVATE_FILE, PRIVATE_FOLDER, StateLayout
from infermesh_local.model_server import find_weights
from infermesh_local.port_choice import LOOPBACK, is_free
from infermesh_local.reports import Finding, MeshStatus, ProcessStatus, Severity
from infermesh_local.resource_check import resource_findings
from infermesh_local.settings import LocalSettings

_OLDEST_PYTHON = (3, 11)
_MIB = 1024 * 1024
_PACKAGES = ("xllamacpp", "supervisor", *(f"infermesh_{service}" for service in SERVICES))


def examine(layout: StateLayout, settings: LocalSettings, status: MeshStatus) -> list[Finding]:
    """Everything that was looked at, in the order in which things depend on each other.

    Args:
        layout: of the state folder, which need not exist.
        settings: of local mode.
        status: of the mesh.
    """
    return [
        python_finding(sys.version_info[:2]),
        *_installation(),
        *state_findings(layout.root, layout.secrets),
        disk_finding(layout.root, settings.low_disk_mib),
        *_mesh(settings, status),
        *resource_findings(layout.resources),
    ]


def python_finding(version: tuple[int, int]) -> Finding:
    """Whether this Python is new enough.

    Args:
        version: major and minor.
    """
    have, need = (".".join(str(part) for part in v) for v in (version, _OLDEST_PYTHON))
    if version < _OLDEST_PYTHON:
        return _error(f"This is Python {have}.", f"Use Python {need} or newer.")
    return _ok(f"Python {have}")


def _installation() -> Iterator[Finding]:
    yield program_finding("redis-server", redis_binary)
    yield program_finding("Envoy", installed_envoy)
    try:
        yield _ok(f"weights of the embedded model: {find_weights()}")
    except Incomplete as error:
        yield _error(f"{error.what} not installed.", error.remedy)
    for package in _PACKAGES:
        yield package_finding(package)


def program_finding(name: str, find: Callable[[], Path]) -> Finding:
    """Whether a program of the mesh is there and may be run."""
    try:
        path = find()
    except Incomplete as error:
        return _error(f"{name} is not installed.", error.remedy)
    if not os.access(path, os.X_OK):
        return _error(f"{name} at {path} may not be run.", f"chmod u+x {path}")
    return _ok(f"{name}: {path}")


def package_finding(package: str) -> Finding:
    """Whether a Python package of the mesh is installed; does not import it."""
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        return _error(f"The package {name} is not installed.", f"pip install {name}")
    return _ok(f"package {package}")


def state_findings(root: Path, secrets: Path) -> Iterator[Finding]:
    """Whether the state folder belongs to the user, and its secrets to the user alone."""
    if not root.exists():
        yield _ok(f"no state yet; it will stand in {root}")
        return
    status = root.stat()
    if status.st_uid != os.getuid() or not os.access(root, os.W_OK | os.X_OK):
        yield _error(f"The state folder {root} is not yours to write.", f"chown -R $USER {root}")
        return
    if status.st_mode & 0o022:
        yield _warning(f"Others can change the state folder {root}.", f"chmod go-w {root}")
    else:
        yield _ok(f"state folder {root}")
    if not secrets.is_dir():
        return
    if secrets.stat().st_mode & 0o777 & ~PRIVATE_FOLDER:
        yield _error(f"Others can look into {secrets}.", f"chmod 700 {secrets}")
    for path in sorted(secrets.iterdir()):
        if path.stat().st_mode & 0o777 & ~PRIVATE_FILE:
            yield _error(f"Others can read the secret {path}.", f"chmod 600 {path}")


def disk_finding(root: Path, low_mib: int) -> Finding:
    """Whether there is room where the state stands, or will stand.

    Args:
        root: the state folder.
        low_mib: less than this is too little.
    """
    folder = next(path for path in (root, *root.parents) if path.exists())
    free_mib = shutil.disk_usage(folder).free // _MIB
    if free_mib < low_mib:
        return _warning(f"Only {free_mib} MiB are free on the disk of {folder}.", "Make room.")
    return _ok(f"{free_mib} MiB free on the disk of {folder}")


def _mesh(settings: LocalSettings, status: MeshStatus) -> Iterator[Finding]:
    if status.left_behind:
        pids = ", ".join(str(pid) for pid in status.left_behind)
        yield _error(f"Processes run without their supervisor: {pids}.", "infermesh down")
    if not status.running:
        yield _ok("the mesh does not run")
        yield port_finding(settings.public_port)
        return
    if status.info is None:
        yield _error(
            "The mesh runs, but its ports are not known any more.",
            "infermesh down, then infermesh up",
        )
        return
    yield _ok(f"the mesh runs at {status.info.url}")
    for process in status.processes:
        yield process_finding(process)


def port_finding(port: int) -> Finding:
    """Whether the default port is free."""
    if is_free(port):
        return _ok(f"port {port} of {LOOPBACK} is free")
    return _warning(
        f"Port {port} of {LOOPBACK} is taken by another program.",
        "Nothing, or `infermesh up --port N`: without --port another one is chosen.",
    )


def process_finding(process: ProcessStatus) -> Finding:
    """Whether a process of a running mesh does its work."""
    if process.ready:
        return _ok(f"{process.name}: {process.state}, ready")
    return _error(
        f"{process.name} is not ready ({process.state}): {process.detail or 'no reason known'}.",
        f"infermesh logs {process.name}",
    )


def _ok(what: str) -> Finding:
    return Finding(Severity.OK, what)


def _warning(what: str, remedy: str) -> Finding:
    return Finding(Severity.WARNING, what, remedy)


def _error(what: str, remedy: str) -> Finding:
    return Finding(Severity.ERROR, what, remedy)
