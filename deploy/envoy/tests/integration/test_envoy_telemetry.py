"""Traces, and the part of the admin interface that others may see."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from infermesh.governance.v1 import keys_pb2
from infermesh_common.testing.servers import free_port
from infermesh_envoy.testing import Call, EnvoyProcess, ScriptedUpstream
from infermesh_envoy.testing.upstream import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIST_KEYS = "/infermesh.governance.v1.KeyService/ListKeys"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TRACE = "0af7651916cd43dd8448eb211c80319c"
Mesh = dict[str, ScriptedUpstream]
Start = Callable[..., Awaitable[EnvoyProcess]]


async def keys(call: Call, context: Context) -> AsyncIterator[bytes]:
    yield keys_pb2.ListKeysResponse().SerializeToString()


async def test_a_sampled_trace_goes_through_the_edge_and_to_the_collector(
    mesh: Mesh, start_edge: Start
) -> None:
    arrived = asyncio.Event()
    collector = ScriptedUpstream()

    async def export(call: Call, context: Context) -> AsyncIterator[bytes]:
        yield trace_service_pb2.ExportTraceServiceResponse().SerializeToString()
        arrived.set()

    collector.script(EXPORT, export)
    await collector.start()
    mesh["governance"].script(LIST_KEYS, keys)
    # No trace begins here, and the caller's goes on all the same.
    edge = await start_edge(
        otlp_host="127.0.0.1", otlp_port=collector.port, trace_sampling_percent=0
    )
    mine = str(uuid.uuid4())
    sampled = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-id": mine}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        for headers in [*[sampled] * 5, {}]:
            async with session.get("/v1/keys?tenant=hidden", headers=headers) as response:
                assert response.status == 200
    try:
        await asyncio.wait_for(arrived.wait(), 20)
    finally:
        await collector.stop()
    # Tracing leaves no mark on the request id.
    assert mesh["governance"].calls[0].values("x-request-id") == [mine]
    (forwarded,) = mesh["governance"].calls[0].values("traceparent")
    version, trace, span, flags = forwarded.split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    (unsampled,) = mesh["governance"].calls[-1].values("traceparent")
    assert unsampled.endswith("-00")
    request = trace_service_pb2.ExportTraceServiceRequest.FromString(collector.calls[0].request)
    spans = [s for r in request.resource_spans for p in r.scope_spans for s in p.spans]
    assert {entry.trace_id.hex() for entry in spans} == {TRACE}
    assert span in {entry.span_id.hex() for entry in spans}
    assert "hidden" not in str(spans)
    server = next(entry for entry in spans if entry.parent_span_id.hex() == "b7ad6b7169203331")
    tags = {tag.key: tag.value.string_value for tag in server.attributes}
    assert (tags["http.method"], tags["http.url"]) == ("GET", "/v1/keys")


async def test_others_see_readiness_and_metrics_and_nothing_else_of_admin(
    mesh: Mesh, start_edge: Start
) -> None:
    mesh["governance"].script(LIST_KEYS, keys)
    port = free_port()
    edge = await start_edge(stats_address="127.0.0.1", stats_port=port, admin_port=free_port())
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        async with session.get("/v1/keys") as response:
            assert response.status == 200
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/ready") as response:
            assert (response.status, await response.text()) == (200, "LIVE\n")
        async with session.get("/stats/prometheus") as response:
            assert "envoy_cluster_upstream_rq_total" in await response.text()
        for path in ("/", "/config_dump", "/certs", "/ready/../config_dump"):
            async with session.get(path) as response:
                assert response.status == 404, path
        for path in ("/quitquitquit", "/ready", "/healthcheck/fail"):
            async with session.post(path) as response:
                assert response.status == 404, path
