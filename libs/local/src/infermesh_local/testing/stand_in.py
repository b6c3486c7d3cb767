"""A process with the health service of a service of the mesh and nothing else."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from infermesh_local.interruption import SignalWait
from infermesh_local.port_choice import LOOPBACK
from infermesh_local.processes import GrpcReady
from infermesh_local.readiness import fault

_PROBE_S = 5.0


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Serves until SIGTERM; exit status 3 or 4 when told to fail or something is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fail", help="say this and end at once")
    parser.add_argument("--needs", help="target that must be ready by now")
    parser.add_argument("--never-ready", action="store_true")
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--with-child", action="store_true", help="have a process of its own")
    given = parser.parse_args(arguments)
    if given.fail is not None:
        print(given.fail, flush=True)
        return 3
    if given.needs is not None and (missing := fault(GrpcReady(given.needs), _PROBE_S)):
        print(f"started too early: {missing}", flush=True)
        return 4
    if given.with_child:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    name, notes = environment["STAND_IN_NAME"], Path(environment["STAND_IN_NOTES"])
    if given.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stop = SignalWait([signal.SIGINT] if given.deaf else [signal.SIGTERM])
    server = _serve(given.port, ready=not given.never_ready)
    _note(notes, f"{name} started")
    stop.wait()
    server.stop(grace=0).wait()
    _note(notes, f"{name} stopped")
    return 0


def _serve(port: int, *, ready: bool) -> grpc.Server:
    statuses = health_pb2.HealthCheckResponse
    servicer = health.HealthServicer()
    servicer.set("readiness", statuses.SERVING if ready else statuses.NOT_SERVING)
    server = grpc.server(ThreadPoolExecutor(max_workers=2), options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    server.start()
    return server


def _note(path: Path, line: str) -> None:
    print(line, flush=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
