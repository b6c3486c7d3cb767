"""An edge that is about to stop says so, finishes what it has, and turns nobody away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from google.api import httpbody_pb2

from infermesh_common.testing.servers import eventually, free_port
from infermesh_envoy.__main__ import main
from infermesh_envoy.drain import Admin, drain
from infermesh_envoy.testing import Call, EnvoyProcess, ScriptedUpstream
from infermesh_envoy.testing.upstream import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/infermesh.router.v1.OpenAIService/CreateChatCompletion"
Mesh = dict[str, ScriptedUpstream]
Start = Callable[..., Awaitable[EnvoyProcess]]


def event(text: str) -> bytes:
    data: bytes = httpbody_pb2.HttpBody(
        content_type="text/event-stream", data=text.encode()
    ).SerializeToString()
    return data


async def answer(call: Call, context: Context) -> AsyncIterator[bytes]:
    yield event("done")


async def test_what_is_under_way_is_finished_and_who_still_comes_is_served(
    mesh: Mesh, start_edge: Start
) -> None:
    release = asyncio.Event()

    async def stream(call: Call, context: Context) -> AsyncIterator[bytes]:
        yield event("begun ")
        await release.wait()
        yield event("done")

    mesh["router"].script(CHAT, stream)
    edge = await start_edge(
        stats_address="127.0.0.1", stats_port=free_port(), admin_port=free_port()
    )
    base = f"http://127.0.0.1:{edge.port}"
    stats = edge.parameters.stats_port
    async with aiohttp.ClientSession(base) as session:
        async with session.post("/v1/chat/completions", data=b"{}") as response:
            assert await response.content.readexactly(6) == b"begun "
            draining = asyncio.create_task(
                asyncio.to_thread(drain, Admin(edge.admin_address), seconds=60, notice_s=0)
            )

            async def told() -> bool:
                async with session.get(f"http://127.0.0.1:{stats}/ready") as ready:
                    return ready.status == 503

            await eventually(told, what="the health check fails")
            mesh["router"].script(CHAT, answer)
            async with session.post("/v1/chat/completions", data=b"{}") as late:
                assert (late.status, await late.read()) == (200, b"done")
                assert late.headers["connection"] == "close"
            assert not draining.done()
            release.set()
            assert await response.content.read() == b"done"
        done = await draining
    assert (done.requests, done.seconds < 60) == (0, True)


async def test_the_time_is_kept_when_a_stream_does_not_end(
    mesh: Mesh, start_edge: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    async def for_ever(call: Call, context: Context) -> AsyncIterator[bytes]:
        yield event("begun ")
        await call.cancelled.wait()

    mesh["router"].script(CHAT, for_ever)
    edge = await start_edge()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        async with session.post("/v1/chat/completions", data=b"{}") as response:
            assert await response.content.readexactly(6) == b"begun "
            command = ["drain", "--admin", edge.admin_address, "--seconds", "0.5"]
            assert await asyncio.to_thread(main, command) == 0
            assert "left: 1 connections, 1 requests" in capsys.readouterr().out


async def test_idle_connections_are_waited_for_as_long_as_balancers_take(
    mesh: Mesh, start_edge: Start
) -> None:
    mesh["router"].script(CHAT, answer)
    edge = await start_edge()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        async with session.post("/v1/chat/completions", data=b"{}") as response:
            await response.read()
        done = await asyncio.to_thread(drain, Admin(edge.admin_address), seconds=60, notice_s=0.4)
    assert (done.connections, done.requests) == (1, 0)
    assert 0.4 <= done.seconds < 60


async def test_an_envoy_that_ends_by_itself_is_drained(start_edge: Start) -> None:
    edge = await start_edge()
    address = edge.admin_address
    draining = asyncio.create_task(
        asyncio.to_thread(drain, Admin(address), seconds=600, notice_s=600)
    )
    await eventually(lambda: "DRAINING" in _state(edge), what="it is told")
    await asyncio.to_thread(edge.stop)
    assert (await draining).connections == 0


def _state(edge: EnvoyProcess) -> str:
    try:
        return edge.admin("/ready")
    except OSError as error:
        return str(error)


async def test_an_envoy_that_is_not_there_cannot_be_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["drain", "--admin", f"127.0.0.1:{free_port()}", "--seconds", "1"]
    assert await asyncio.to_thread(main, command) == 1
    assert "cannot be told" in capsys.readouterr().err
