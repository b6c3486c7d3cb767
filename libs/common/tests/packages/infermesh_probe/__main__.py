"""A whole process with the standard kit, for the tests of its life and end.

Its one method answers after as many milliseconds as the request says, and its bootstrap writes
the ports to the file that the settings name.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infermesh_common.rpc.kit import service_kit
from infermesh_common.rpc.server import GrpcServer, run
from infermesh_common.settings import CommonSettings, Settings, SettingsError, load_settings
from infermesh_common.testing.identity import FakeGovernance
from infermesh_common.testing.rpc import METHODS, SERVICE, ScriptedService


class Limits(Settings):
    depth: int
    width: int


class ProbeSettings(CommonSettings):
    greeting: str
    limits: Limits


async def wait_as_told(text: str) -> AsyncGenerator[str, None]:
    await asyncio.sleep(float(text or "0") / 1000)
    yield text


async def write_ports(server: GrpcServer, file: Path) -> None:
    while not server.metrics_port:
        await asyncio.sleep(0.01)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(f"{server.port} {server.metrics_port}")
    temporary.replace(file)


@asynccontextmanager
async def bootstrap(settings: ProbeSettings) -> AsyncIterator[GrpcServer]:
    async with service_kit("probe", settings, FakeGovernance.create().directory) as kit:
        server = kit.server(
            service_names=[SERVICE],
            checks={"identity": kit.identities_fresh},
            open_methods=frozenset(METHODS.values()),
        )
        ScriptedService(wait_as_told).add_to(server.grpc)
        kit.spawn(write_ports(server, Path(settings.greeting)), "ports")
        yield server


def main() -> None:
    try:
        settings = load_settings(ProbeSettings, "probe", environment=os.environ)
    except SettingsError as error:
        sys.exit(f"probe: {error}")
    run(lambda: bootstrap(settings))


main()
