"""A server says that it is ready when it is, and only then; and health answers whatever happens."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from infermesh_common.errors import from_rpc_error
from infermesh_common.rpc.health import NOT_SERVING, SERVING, Check, Health
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.rpc.server import GrpcServer
from infermesh_common.rpc.stages import IdentityGuard
from infermesh_common.settings import ServerSettings, TelemetrySettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.telemetry.tracing import Tracing
from infermesh_common.testing.identity import FakeGovernance, bearer
from infermesh_common.testing.rpc import (
    SERVICE,
    RecordingObserver,
    Script,
    ScriptedService,
    echo,
    scripted_client,
)
from infermesh_common.testing.servers import eventually


class Switch:
    """A dependency that a test turns on and off."""

    def __init__(self, on: bool = True) -> None:
        self.on = on
        self.asked = 0

    async def __call__(self) -> bool:
        self.asked += 1
        return self.on


async def passes() -> bool:
    return True


async def fails() -> bool:
    raise OSError


async def hangs() -> bool:
    await asyncio.Event().wait()
    return True


@asynccontextmanager
async def running(
    health: Health,
    *,
    script: Script = echo,
    max_concurrent: int = 100,
    stop_grace_ms: int = 60_000,
    observer: RecordingObserver | None = None,
) -> AsyncIterator[GrpcServer]:
    settings = ServerSettings(
        listen_address="127.0.0.1:0",
        health_address=None,
        metrics_address="127.0.0.1:0",
        max_message_bytes=1_000_000,
        max_concurrent_rpcs=max_concurrent,
        max_connection_age_ms=300_000,
        max_connection_age_grace_ms=300_000,
        default_deadline_ms=60_000,
        drain_ms=0,
        stop_grace_ms=stop_grace_ms,
        reflection=True,
    )
    telemetry = TelemetrySettings(
        log_level="INFO", log_flush_interval_ms=0, otlp_endpoint=None, trace_sample_ratio=1
    )
    server = GrpcServer(
        settings,
        pipeline=ServerPipeline(
            observers=[observer] if observer else [],
            guards=[IdentityGuard(governance.directory)],
            default_deadline_ms=settings.default_deadline_ms,
            max_concurrent=max_concurrent,
        ),
        health=health,
        metrics=Metrics(),
        tracing=Tracing("test", telemetry),
        service_names=[SERVICE],
    )
    ScriptedService(script).add_to(server.grpc)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


governance = FakeGovernance.create()
KEY = bearer(governance.issue("acme"))


async def status(server: GrpcServer, service: str = "readiness") -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        response = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=20)
        return int(response.status)


def is_status(server: GrpcServer, expected: int) -> Callable[[], "asyncio.Future[bool]"]:
    async def compare() -> bool:
        return await status(server) == expected

    return lambda: asyncio.ensure_future(compare())


async def test_a_service_is_alive_at_once_and_ready_after_its_first_checks() -> None:
    switch = Switch(on=False)
    health = Health({"switch": switch}, interval_s=0.01)
    async with running(health) as server:
        await eventually(lambda: switch.asked > 3)
        assert await status(server, "liveness") == SERVING
        assert await status(server) == await status(server, "") == NOT_SERVING
        switch.on = True
        await eventually(is_status(server, SERVING))
        assert await status(server, "") == SERVING


async def test_health_and_reflection_need_no_key_and_everything_else_does() -> None:
    async with running(Health({})) as server:
        assert await status(server) == SERVING
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            call = stub.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=20
            )
            response = await call.read()
        listed = {service.name for service in response.list_services_response.service}
        assert listed == {
            SERVICE,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        async with scripted_client(f"127.0.0.1:{server.port}") as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers("unary_unary")
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert await client.answers("unary_unary", "a", metadata=KEY) == ["a"]


async def test_a_full_server_refuses_calls_but_answers_for_its_health() -> None:
    entered = 0
    release = asyncio.Event()
    observer = RecordingObserver()

    async def script(text: str) -> AsyncGenerator[str, None]:
        nonlocal entered
        entered += 1
        await release.wait()
        yield text

    health = Health({})
    async with running(health, script=script, max_concurrent=3, observer=observer) as server:
        async with scripted_client(f"127.0.0.1:{server.port}") as client:
            inside = [
                asyncio.ensure_future(client.answers("unary_unary", "a", metadata=KEY))
                for _ in range(3)
            ]
            await eventually(lambda: entered == 3)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.answers("unary_unary", metadata=KEY)
            refused = from_rpc_error(caught.value)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (refused.reason, refused.retry_after_s) == ("SERVER_OVERLOADED", 1)
            assert await status(server, "liveness") == SERVING
            release.set()
            assert await asyncio.gather(*inside) == [["a"]] * 3
            assert await client.answers("unary_unary", "b", metadata=KEY) == ["b"]
    assert observer.ended_with.count("RESOURCE_EXHAUSTED") == 1


async def test_a_watcher_sees_every_lasting_change_and_does_not_hold_up_the_end() -> None:
    switch = Switch()
    health = Health({"switch": switch}, interval_s=0.01)
    seen: list[int] = []

    async def watch(target: str) -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            async for response in stub.Watch(health_pb2.HealthCheckRequest(service="readiness")):
                seen.append(response.status)

    # Whoever waited for the stream would wait for an hour.
    async with running(health, stop_grace_ms=3_600_000) as server:
        await eventually(is_status(server, SERVING))
        watching = asyncio.ensure_future(watch(f"127.0.0.1:{server.port}"))
        await eventually(lambda: seen == [SERVING])
        switch.on = False
        await eventually(lambda: seen == [SERVING, NOT_SERVING])
        switch.on = True
        await eventually(lambda: seen == [SERVING, NOT_SERVING, SERVING])
    await watching
    assert seen == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]


async def test_a_watcher_that_leaves_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    async with running(Health({})) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            await call.read()
            call.cancel()
    await eventually(lambda: asyncio.all_tasks() <= before)


async def test_an_address_in_use_is_an_error_at_the_start() -> None:
    async with running(Health({})) as server:
        second = ServerSettings(
            listen_address=f"127.0.0.1:{server.port}",
            health_address=None,
            metrics_address="127.0.0.1:0",
            max_message_bytes=1,
            max_concurrent_rpcs=1,
            max_connection_age_ms=1,
            max_connection_age_grace_ms=1,
            default_deadline_ms=1,
            drain_ms=0,
            stop_grace_ms=0,
            reflection=False,
        )
        telemetry = TelemetrySettings(
            log_level="INFO", log_flush_interval_ms=0, otlp_endpoint=None, trace_sample_ratio=1
        )
        other = GrpcServer(
            second,
            pipeline=ServerPipeline(observers=[], guards=[], default_deadline_ms=1),
            health=Health({}),
            metrics=Metrics(),
            tracing=Tracing("test", telemetry),
            service_names=[],
        )
        assert other.metrics_port == 0
        with pytest.raises(RuntimeError):
            await other.start()


@pytest.mark.parametrize("check", [fails, hangs])
async def test_a_check_that_fails_or_hangs_is_a_failed_check(check: Check) -> None:
    health = Health({"good": passes, "bad": check}, failures_to_unready=1, timeout_s=0.01)
    await health.start()
    await health.check_once()
    assert health.dependencies() == {"good": True, "bad": False}
    assert not health.ready


async def test_one_failed_check_does_not_take_a_service_out_and_one_good_one_brings_it_back() -> (
    None
):
    switch = Switch()
    health = Health({"switch": switch}, failures_to_unready=3)
    await health.start()
    assert not health.ready, "nothing was checked yet"
    await health.check_once()
    assert health.ready
    switch.on = False
    readiness = []
    for _ in range(4):
        await health.check_once()
        readiness.append(health.ready)
    assert readiness == [True, True, False, False]
    switch.on = True
    await health.check_once()
    assert health.ready


async def test_a_service_that_drains_never_becomes_ready_again() -> None:
    health = Health({"good": passes})
    await health.start()
    await health.check_once()
    assert health.ready
    await health.drain()
    await health.check_once()
    assert not health.ready and health.dependencies() == {"good": True}
