"""Runs the whole mesh as processes on one machine, with embedded stores and an embedded model.

mesh = LocalMesh()
info = mesh.up(UpOptions(), print)
print(info.url, info.operator_key_file.read_text())
mesh.down(print)
"""

from infermesh_local.errors import (
    AlreadyRunning,
    Busy,
    Incomplete,
    LocalMeshError,
    NotRunning,
    PortInUse,
    ProcessFailed,
    StateUnusable,
    StillRunning,
    UnknownProcess,
)
from infermesh_local.launch import Progress
from infermesh_local.mesh import LocalMesh
from infermesh_local.port_choice import NoFreePort
from infermesh_local.reports import (
    Finding,
    MeshInfo,
    MeshStatus,
    ProcessStatus,
    Severity,
    UpOptions,
)
from infermesh_local.settings import LocalSettings, SettingsInvalid, load_local_settings

__all__ = [
    "AlreadyRunning",
    "Busy",
    "Finding",
    "Incomplete",
    "LocalMesh",
    "LocalMeshError",
    "LocalSettings",
    "MeshInfo",
    "MeshStatus",
    "NoFreePort",
    "NotRunning",
    "PortInUse",
    "ProcessFailed",
    "ProcessStatus",
    "Progress",
    "Severity",
    "SettingsInvalid",
    "StateUnusable",
    "StillRunning",
    "UnknownProcess",
    "UpOptions",
    "load_local_settings",
]
