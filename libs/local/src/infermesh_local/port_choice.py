"""Which ports of loopback the processes listen on."""

import json
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from infermesh_local.errors import LocalMeshError, PortInUse
from infermesh_local.secret_files import write_private

LOOPBACK = "127.0.0.1"
PUBLIC = "public"
"""Name of the port that clients use."""


class NoFreePort(LocalMeshError):
    """Every port that may be used is taken."""


def is_free(port: int) -> bool:
    """Whether a server could listen on a port of loopback now."""
    with socket.socket() as probe:
        # As servers do: connections that ended a moment ago do not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def public_port(stated: int | None, default: int, internal: range) -> int:
    """The port that clients use.

    Args:
        stated: the one the user asks for.
        default: taken when none is stated and it is free; else one of `internal`.
        internal: ports to choose from.

    Raises:
        PortInUse: `stated` is taken.
        NoFreePort: none is left.
    """
    if stated is not None:
        if not is_free(stated):
            raise PortInUse(stated)
        return stated
    return default if is_free(default) else free_ports(["public"], internal, {}, ())["public"]


def free_ports(
    names: Iterable[str], internal: range, earlier: Mapping[str, int], avoid: Iterable[int]
) -> dict[str, int]:
    """A free port for each name, all different.

    Args:
        names: what needs a port.
        internal: ports to choose from.
        earlier: ports of an earlier run, taken again when they are free.
        avoid: ports not to choose.

    Raises:
        NoFreePort: there are not enough.
    """
    taken = set(avoid)
    chosen: dict[str, int] = {}
    # In no order, so that meshes that start at the same moment rarely want the same ones.
    candidates = iter(random.SystemRandom().sample(internal, len(internal)))
    for name in names:
        port = earlier.get(name, 0)
        while port not in internal or port in taken or not is_free(port):
            try:
                port = next(candidates)
            except StopIteration:
                raise NoFreePort(
                    f"No port between {internal.start} and {internal.stop - 1} of {LOOPBACK}"
                    " is free."
                ) from None
        taken.add(port)
        chosen[name] = port
    return chosen


def read_ports(path: Path) -> dict[str, int]:
    """Ports by name out of a file; empty when it is missing or damaged."""
    try:
        held = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(held, dict):
        return {}
    return {str(name): port for name, port in held.items() if isinstance(port, int)}


def write_ports(path: Path, ports: Mapping[str, int]) -> None:
    """Keeps the ports of a run for the commands that come later."""
    write_private(path, json.dumps(dict(ports), indent=2) + "\n")
