"""Runs a simulator until SIGTERM; the README says how."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import orjson
import uvloop

from tools.simulator.replay import ReplayError
from tools.simulator.script import ScriptError, read_script
from tools.simulator.server import HOST, simulator


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--control-port", type=int, default=0, help="0: any free one")
    parser.add_argument("--host", default=HOST, help="address; loopback when it is not said")
    parser.add_argument("--latency-ms", type=float, default=0, help="before each answer")
    parser.add_argument("--script", type=Path, help="YAML or JSON")
    parser.add_argument("--replay", type=Path, help="folder with recorded outcomes")
    parser.add_argument("--journal", type=int, default=0, help="how many requests it holds")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    script = read_script(arguments.script) if arguments.script else None
    async with simulator(
        script,
        replay=arguments.replay,
        latency_ms=arguments.latency_ms,
        journal=arguments.journal,
        port=arguments.port,
        control_port=arguments.control_port,
        host=arguments.host,
    ) as running:
        ports = {"port": running.port, "control_port": running.control_port, "pid": os.getpid()}
        print(orjson.dumps(ports).decode(), flush=True)
        await stopped.wait()


def main() -> int:
    """0 once stopped; 2 when it cannot start, with a sentence on stderr."""
    try:
        uvloop.run(_run(_arguments()))
    except (ScriptError, ReplayError, OSError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
