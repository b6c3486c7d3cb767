"""One of several replicas stops, or one is added, and who calls them does not notice."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from infermesh_common.errors import Unavailable
from infermesh_common.rpc.client import Channels
from infermesh_common.rpc.health import ACCEPTING, NOT_SERVING, SERVING, Health
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.settings import ServerSettings, TelemetrySettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.tracing import Tracing
from infermesh_common.testing.rpc import (
    ARITIES,
    SERVICE,
    Script,
    ScriptedClient,
    ScriptedService,
    scripted_client,
)
from infermesh_common.testing.servers import eventually

STOPPING = "x-infermesh-stopping"


@dataclass
class Replica:
    """One server, and how often it was asked."""

    server: GrpcServer
    calls: int = 0
    stopped: bool = field(default=False)

    async def stop(self) -> None:
        """Stops it, once."""
        if not self.stopped:
            self.stopped = True
            await self.server.stop()


Start = Callable[..., "asyncio.Future[Replica]"]


@pytest.fixture
async def replicas() -> AsyncIterator[Callable[..., "asyncio.Task[Replica]"]]:
    """Starts replicas of one service; those still there are stopped at the end."""
    async with AsyncExitStack() as stack:

        async def start(
            script: Script, *, drain_ms: int = 300, stop_grace_ms: int = 60_000
        ) -> Replica:
            settings = ServerSettings(
                listen_address="127.0.0.1:0",
                health_address=None,
                metrics_address="127.0.0.1:0",
                max_message_bytes=1_000_000,
                max_concurrent_rpcs=1_000,
                max_connection_age_ms=300_000,
                max_connection_age_grace_ms=300_000,
                default_deadline_ms=60_000,
                drain_ms=drain_ms,
                stop_grace_ms=stop_grace_ms,
                reflection=False,
            )
            telemetry = TelemetrySettings(
                log_level="INFO", log_flush_interval_ms=0, otlp_endpoint=None, trace_sample_ratio=1
            )
            server = GrpcServer(
                settings,
                pipeline=ServerPipeline(observers=[], guards=[], default_deadline_ms=60_000),
                health=Health({}),
                metrics=Metrics(),
                tracing=Tracing("test", telemetry),
                service_names=[SERVICE],
            )
            replica = Replica(server)

            async def counted(text: str) -> AsyncGenerator[str, None]:
                replica.calls += 1
                async for answer in script(text):
                    yield answer

            ScriptedService(counted).add_to(server.grpc)
            await server.start()
            stack.push_async_callback(replica.stop)
            return replica

        def task(script: Script, **more: int) -> "asyncio.Task[Replica]":
            return asyncio.create_task(start(script, **more))

        yield task


@asynccontextmanager
async def channel_to(*replicas: Replica) -> AsyncIterator[ScriptedClient]:
    channels = Channels(max_message_bytes=1_000_000)
    addresses = ",".join(f"127.0.0.1:{replica.server.port}" for replica in replicas)
    try:
        yield ScriptedClient(channels.to(f"ipv4:{addresses}"))
    finally:
        await channels.close()


async def steps(text: str) -> AsyncGenerator[str, None]:
    for step in range(int(text)):
        await asyncio.sleep(0.002)
        yield str(step)


async def tells(text: str) -> AsyncGenerator[str, None]:
    """Says something, waits for ever, and has a last word."""
    try:
        yield "begun"
        await asyncio.Event().wait()
    except Unavailable as error:
        yield f"event: {error.reason}"
        raise


@pytest.mark.parametrize("arity", ARITIES)
async def test_no_call_fails_when_one_of_two_stops_under_load(arity: str, replicas: Start) -> None:
    """More calls come each second than the budget of retries could make good."""
    one, other = await replicas(steps), await replicas(steps)
    done = False
    answered = 0

    async with channel_to(one, other) as client:

        async def load() -> None:
            nonlocal answered
            while not done:
                assert (await client.answers(arity, "20"))[-1] == "19"
                answered += 1

        callers = [asyncio.ensure_future(load()) for _ in range(24)]
        await eventually(lambda: min(one.calls, other.calls) > 20)
        await one.stop()
        after, goal = one.calls, answered + 60
        await eventually(lambda: answered > goal)
        done = True
        await asyncio.gather(*callers)
    assert one.calls == after


async def test_replicas_share_the_load_evenly(replicas: Start) -> None:
    one, other = await replicas(steps), await replicas(steps)
    async with channel_to(one, other) as client:
        # Until both are connected.
        while min(one.calls, other.calls) == 0:
            await client.answers("unary_unary", "1")
        before = one.calls, other.calls
        await asyncio.gather(*(client.answers("unary_unary", "1") for _ in range(200)))
    shares = one.calls - before[0], other.calls - before[1]
    assert sum(shares) == 200 and abs(shares[0] - shares[1]) <= 20


async def test_a_replica_that_drains_serves_who_comes_all_the_same(replicas: Start) -> None:
    """Neither a channel of the mesh nor the edge sends it anything by then; others may."""
    replica = await replicas(steps, drain_ms=500)
    async with scripted_client(f"127.0.0.1:{replica.server.port}") as client:
        assert await client.answers("unary_unary", "1") == ["0"]
        stopping = asyncio.create_task(replica.stop())
        await asyncio.sleep(0)
        assert await client.answers("unary_unary", "1") == ["0"]
        assert not stopping.done()
        await stopping


async def test_a_stream_that_takes_longer_than_the_stop_ends_with_a_word(replicas: Start) -> None:
    replica = await replicas(tells, drain_ms=0, stop_grace_ms=400)
    async with scripted_client(f"127.0.0.1:{replica.server.port}") as client:
        call = client.start("unary_stream")
        assert isinstance(call, grpc.aio.UnaryStreamCall)
        said = []
        with pytest.raises(grpc.aio.AioRpcError):
            async for message in call:
                said.append(message.value)
                if len(said) == 1:
                    stopping = asyncio.create_task(replica.stop())
        assert said == ["begun", "event: SERVICE_STOPPING"]
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        await stopping


@pytest.mark.parametrize("arity", ["unary_unary", "unary_stream"])
async def test_a_call_without_an_answer_by_then_says_that_it_was_begun(
    replicas: Start, arity: str
) -> None:
    entered = asyncio.Event()

    async def hangs(text: str) -> AsyncGenerator[str, None]:
        entered.set()
        await asyncio.Event().wait()
        yield text

    replica = await replicas(hangs, drain_ms=0, stop_grace_ms=400)
    async with scripted_client(f"127.0.0.1:{replica.server.port}") as client:
        call = client.start(arity)
        await entered.wait()
        stopping = asyncio.create_task(replica.stop())
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(await call.trailing_metadata())[STOPPING] == "interrupted"
        await stopping


async def test_a_call_that_is_refused_says_that_nothing_was_done(replicas: Start) -> None:
    release = asyncio.Event()

    async def waits(text: str) -> AsyncGenerator[str, None]:
        await release.wait()
        yield text

    replica = await replicas(waits, drain_ms=0)
    async with scripted_client(f"127.0.0.1:{replica.server.port}") as client:
        begun = client.start("unary_unary", "a")
        await eventually(lambda: replica.calls == 1)
        stopping = asyncio.create_task(replica.stop())
        refused: set[str] = set()
        while not refused:
            call = client.start("unary_unary", timeout_s=0.5)
            if await call.code() is grpc.StatusCode.UNAVAILABLE:
                refused.add(str(dict(await call.trailing_metadata()).get(STOPPING)))
        assert refused == {"refused"}
        release.set()
        assert await begun.code() is grpc.StatusCode.OK
        await stopping


async def test_accepting_ends_with_the_drain_and_does_not_depend_on_anything() -> None:
    async def fails() -> bool:
        return False

    health = Health({"redis": fails})
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await health.start()
    await health.check_once()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            expected = {"readiness": NOT_SERVING, ACCEPTING: SERVING, "liveness": SERVING}
            for name, status in expected.items():
                request = health_pb2.HealthCheckRequest(service=name)
                assert (await stub.Check(request)).status == status, name
            await health.drain()
            request = health_pb2.HealthCheckRequest(service=ACCEPTING)
            assert (await stub.Check(request)).status == NOT_SERVING
    finally:
        await server.stop(None)
