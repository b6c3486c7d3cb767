"""The bare echo behind an Envoy of the mesh's own bootstrap."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import running, wait_until
from benchmarks.target import Target, answers
from infermesh_common.testing.servers import free_port
from infermesh_envoy import descriptor_path, envoy_binary, parameters_from, render

SERVICES = ("router", "cache", "governance", "analytics")


@contextlib.contextmanager
def echo_behind_envoy(folder: Path, answer: bytes) -> Iterator[Target]:
    """Runs while the block does.

    Args:
        folder: for Envoy's configuration and log.
        answer: body of every answer.
    """
    port, echo, admin = free_port(), free_port(), free_port()
    values: dict[str, object] = {
        "listen_address": "127.0.0.1",
        "listen_port": port,
        "admin_address": "127.0.0.1",
        "admin_port": admin,
        "cluster_type": "STATIC",
        "descriptor_path": str(descriptor_path()),
        "access_log_path": str(folder / "access.log"),
    }
    for service in SERVICES:
        values |= {f"{service}_host": "127.0.0.1", f"{service}_port": echo}
    body = folder / "answer.json"
    body.write_bytes(answer)
    config = folder / "envoy.yaml"
    config.write_text(render(parameters_from(values)))
    envoy = (str(envoy_binary()), "-c", str(config), "--concurrency", "1", "-l", "error")
    target = Target(port, "fixed", {"authorization": "Bearer none"})
    with (
        running(sys.executable, "-m", "benchmarks.echo_server", str(echo), str(body)),
        running(*envoy, "--disable-hot-restart"),
    ):
        wait_until(lambda: answers(target), "the echo's first answer")
        yield target
