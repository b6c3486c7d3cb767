"""Services that are down, come back, or answer with errors."""

from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh_common.testing.servers import eventually
from infermesh_envoy.testing import Call, EnvoyProcess, ScriptedUpstream
from infermesh_envoy.testing.upstream import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATS = "/infermesh.cache.v1.CacheService/GetStats"
HEALTH = "/grpc.health.v1.Health/Check"
Mesh = dict[str, ScriptedUpstream]
Start = Callable[..., Awaitable[EnvoyProcess]]


async def stats(call: Call, context: Context) -> AsyncIterator[bytes]:
    yield cache_pb2.GetStatsResponse(entries=1).SerializeToString()


async def unavailable(call: Call, context: Context) -> AsyncIterator[bytes]:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the provider is down")
    yield b""


async def serving(call: Call, context: Context) -> AsyncIterator[bytes]:
    status = health_pb2.HealthCheckResponse.SERVING
    yield health_pb2.HealthCheckResponse(status=status).SerializeToString()


async def test_a_service_that_is_down_is_said_to_be_and_one_that_returns_is_found(
    mesh: Mesh, edge: EnvoyProcess, http: aiohttp.ClientSession
) -> None:
    mesh["cache"].script(STATS, stats)
    port = mesh["cache"].port
    await mesh["cache"].stop()
    try:
        # More often than it takes to eject a host that is not the only one.
        for _ in range(10):
            async with http.get("/v1/cache/stats") as response:
                assert response.status == 503
                assert response.headers["retry-after"] == "1"
                error = (await response.json())["error"]
                assert (error["type"], error["code"]) == ("server_error", "upstream_unavailable")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
            stub = cache_pb2_grpc.CacheServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetStats(cache_pb2.GetStatsRequest())
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            assert '"error"' not in str(caught.value.details())
    finally:
        await mesh["cache"].start(port)

    async def answers() -> bool:
        async with http.get("/v1/cache/stats") as response:
            return response.status == 200

    await eventually(answers, what="the service is found again")


async def test_a_service_that_answers_with_errors_stays_in_use(
    mesh: Mesh, edge: EnvoyProcess, http: aiohttp.ClientSession
) -> None:
    mesh["cache"].script(STATS, unavailable)
    for _ in range(20):
        async with http.get("/v1/cache/stats") as response:
            assert response.status == 503
            assert (await response.json())["message"] == "the provider is down"
    mesh["cache"].script(STATS, stats)
    async with http.get("/v1/cache/stats") as response:
        assert response.status == 200
    assert len(mesh["cache"].calls) == 21


async def test_health_checks_find_a_host_that_is_well(mesh: Mesh, start_edge: Start) -> None:
    for service in mesh.values():
        service.script(HEALTH, serving)
    mesh["cache"].script(STATS, stats)
    edge = await start_edge(upstream_health_checks=True)
    hosts = edge.admin("/clusters")
    for name in mesh:
        assert f"{name}::127.0.0.1:{mesh[name].port}::health_flags::healthy" in hosts
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        async with session.get("/v1/cache/stats") as response:
            assert response.status == 200


async def test_names_are_resolved_in_a_cluster(mesh: Mesh, start_edge: Start) -> None:
    mesh["cache"].script(STATS, stats)
    edge = await start_edge(cluster_type="STRICT_DNS", cache_host="localhost")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        async with session.get("/v1/cache/stats") as response:
            assert response.status == 200


async def test_too_many_requests_at_once_are_refused_at_once(mesh: Mesh, start_edge: Start) -> None:
    held: list[Call] = []

    async def hold(call: Call, context: Context) -> AsyncIterator[bytes]:
        held.append(call)
        await call.cancelled.wait()
        yield b""

    mesh["cache"].script(STATS, hold)
    edge = await start_edge(max_upstream_requests=1)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        first = cache_pb2_grpc.CacheServiceStub(channel).GetStats(cache_pb2.GetStatsRequest())
        await eventually(lambda: len(held) == 1, what="the first request is under way")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
            async with session.get("/v1/cache/stats") as response:
                assert response.status == 503
                assert response.headers["retry-after"] == "1"
                assert (await response.json())["error"]["code"] == "overloaded"
        first.cancel()
