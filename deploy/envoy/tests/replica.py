"""A replica of the router, as a process that tests stop and kill: a server of the mesh's own kind
with one scripted method.

    python replica.py settings.json

Settings are what `start_replica` of conftest.py writes. It prints its port when it listens.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
from google.api import httpbody_pb2

from infermesh.router.v1 import openai_pb2_grpc
from infermesh_common.errors import Unavailable
from infermesh_common.rpc.certificates import Certificates
from infermesh_common.rpc.health import Health
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.rpc.server import GrpcServer, serve
from infermesh_common.settings import MtlsSettings, ServerSettings, TelemetrySettings
from infermesh_common.telemetry.logs import configure_logs
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.tracing import Tracing

Context: TypeAlias = "grpc.aio.ServicerContext[httpbody_pb2.HttpBody, httpbody_pb2.HttpBody]"
_SERVICE = "infermesh.router.v1.OpenAIService"


class Chat(openai_pb2_grpc.OpenAIServiceServicer):
    """Answers `{"steps": n, "pause_ms": p}`: with n events, p apart, or without `"stream": true`
    with one answer after as long a time.

    Args:
        name: of the replica, in every answer.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    async def CreateChatCompletion(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """One answer."""
        asked = json.loads(request.data)
        steps, pause_s = int(asked.get("steps", 1)), asked.get("pause_ms", 0) / 1000
        stream = bool(asked.get("stream"))
        answer = {"replica": self._name, "bytes": len(request.data)}
        if stream:
            try:
                for step in range(steps):
                    yield _event({**answer, "step": step})
                    await asyncio.sleep(pause_s)
                yield _event("[DONE]")
            except Unavailable as error:
                yield _event({"error": error.reason})
                raise
        else:
            await asyncio.sleep(steps * pause_s)
            await context.send_initial_metadata((("x-infermesh-whole", "1"),))
            data = json.dumps(answer).encode()
            yield httpbody_pb2.HttpBody(content_type="application/json", data=data)


def _event(content: object) -> httpbody_pb2.HttpBody:
    text = content if isinstance(content, str) else json.dumps(content)
    return httpbody_pb2.HttpBody(
        content_type="text/event-stream", data=b"data: " + text.encode() + b"\n\n"
    )


@asynccontextmanager
async def replica(settings: dict[str, object]) -> AsyncIterator[GrpcServer]:
    """The server."""
    metrics = Metrics()
    mtls = settings.get("mtls")
    telemetry = TelemetrySettings(
        log_level="WARNING", log_flush_interval_ms=0, otlp_endpoint=None, trace_sample_ratio=1
    )
    server = GrpcServer(
        ServerSettings(
            listen_address=str(settings["listen_address"]),
            health_address=None,
            metrics_address="127.0.0.1:0",
            max_message_bytes=2**25,
            max_concurrent_rpcs=1000,
            max_connection_age_ms=int(str(settings.get("max_connection_age_ms", 60_000))),
            max_connection_age_grace_ms=60_000,
            default_deadline_ms=60_000,
            drain_ms=int(str(settings.get("drain_ms", 1000))),
            stop_grace_ms=int(str(settings.get("stop_grace_ms", 10_000))),
            reflection=False,
        ),
        pipeline=ServerPipeline(observers=[], guards=[], default_deadline_ms=60_000),
        health=Health({}, interval_s=0.1),
        metrics=metrics,
        tracing=Tracing("replica", telemetry),
        service_names=[_SERVICE],
        certificates=Certificates(MtlsSettings.model_validate(mtls), metrics) if mtls else None,
    )
    openai_pb2_grpc.add_OpenAIServiceServicer_to_server(Chat(str(settings["name"])), server.grpc)
    yield server


async def _main(path: Path) -> None:
    configure_logs("replica", "WARNING")
    async with replica(json.loads(path.read_text())) as server:
        serving = asyncio.create_task(serve(server))
        while server.port == 0 and not serving.done():
            await asyncio.sleep(0.01)
        print(server.port, flush=True)
        await serving


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
