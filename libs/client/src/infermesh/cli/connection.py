"""Which mesh a command talks to, and with which key."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from infermesh.cli.exits import OTHER, UNAVAILABLE, USAGE, fail, reported
from infermesh.cli.local_mesh import LocalMeshFailed, LocalMeshLoader, MeshInfo

if TYPE_CHECKING:
    from infermesh.client import Client


class Access(Enum):
    """Whose key a command needs, when it may choose one of the mesh on this machine."""

    TENANT = "tenant"
    OPERATOR = "operator"


class Endpoint(NamedTuple):
    """Where to, and with which key; the key is empty when there is none."""

    address: str
    api_key: str


@dataclass(frozen=True)
class CliSettings:
    """The options every command shares.

    Args:
        address: of the mesh; empty: not stated.
        api_key: empty: not stated.
        api_key_file: file that holds it; None: not stated.
        root_certificates_file: PEM file; None: gRPC's.
        timeout_s: deadline of a call in seconds.
        state_dir: of the mesh on this machine; None: the default one.
        load_local: how to get at the mesh of this machine.
    """

    address: str
    api_key: str = field(repr=False)
    api_key_file: Path | None
    root_certificates_file: Path | None
    timeout_s: float
    state_dir: Path | None
    load_local: LocalMeshLoader

    def endpoint(self, access: Access) -> Endpoint:
        """What was stated, or the mesh that runs on this machine.

        Args:
            access: whose key to take of a mesh on this machine.

        Raises:
            typer.Exit: there is no mesh, or the key cannot be read.
        """
        key = self.api_key
        if not key and self.api_key_file is not None:
            key = _read_key(self.api_key_file)
        if self.address:
            return Endpoint(self.address, key)
        info = self._running()
        return Endpoint(info.grpc_target, key or _read_key(_key_file(info, access)))

    def _running(self) -> MeshInfo:
        try:
            mesh = self.load_local(self.state_dir)
            info = None if mesh is None else mesh.status().info
        except LocalMeshFailed as error:
            fail(str(error), OTHER)
        if mesh is None:
            fail("State the mesh with --address or INFERMESH_ADDRESS.", USAGE)
        if info is None:
            fail(
                "No mesh runs on this machine: start one with `infermesh up`,"
                " or state one with --address or INFERMESH_ADDRESS.",
                UNAVAILABLE,
            )
        return info


def settings_of(context: typer.Context) -> CliSettings:
    """The shared options of the command that runs."""
    settings = context.find_object(CliSettings)
    assert settings is not None, "the root command sets it"
    return settings


@contextmanager
def connected(context: typer.Context, access: Access) -> Iterator["Client"]:
    """A client; failures of calls in the block end the command with a sentence and a code."""
    settings = settings_of(context)
    endpoint = settings.endpoint(access)
    # Loads gRPC, which a `--help` does not need.
    from infermesh.client import Client
    from infermesh.settings import TlsOptions

    roots = settings.root_certificates_file
    with reported(endpoint.address):
        with Client(
            endpoint.address,
            endpoint.api_key,
            timeout_s=settings.timeout_s,
            tls=None if roots is None else TlsOptions(root_certificates_file=roots),
        ) as client:
            yield client


def _key_file(info: MeshInfo, access: Access) -> Path:
    if access is Access.OPERATOR or not info.tenant_key_files:
        return info.operator_key_file
    return next(iter(info.tenant_key_files.values()))


def _read_key(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        fail(f"The API key cannot be read from {path}: {reason}.", USAGE)
