"""The adapter to OpenAI-compatible providers, over real HTTP."""

import asyncio

import grpc
import pytest
from aiohttp import web
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from infermesh.router.v1 import operations_pb2
from infermesh_common.testing.resources import resource
from infermesh_common.testing.servers import eventually, free_port
from infermesh_common.testing.upstream import completion


def reason(error):
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    return info.reason


def provider(mesh, **spec):
    return resource("Provider", "main", **{"baseUrl": mesh.upstream.base_url, **spec})


async def redeclared(mesh, *documents):
    before = (await health(mesh)).configuration_revision
    mesh.declare(*documents)

    async def changed():
        return (await health(mesh)).configuration_revision != before

    await eventually(changed)


async def health(mesh):
    return await mesh.operations.GetHealth(operations_pb2.GetHealthRequest())


async def failure(mesh, **body):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(**body)
    return reason(caught.value)


async def test_azure_style_keys_headers_and_queries_are_sent(mesh):
    key = mesh.folder / "provider-key"
    key.write_text("first\n")
    await redeclared(
        mesh,
        provider(
            mesh,
            auth={"file": str(key)},
            authHeader="api-key",
            headers={"x-project": "p1"},
            query={"api-version": "2026-01-01"},
        ),
    )
    seen = []

    async def remember(request, body):
        seen.append(request.query_string)
        return await mesh.upstream.answer(request, body)

    mesh.upstream.handler = remember
    await mesh.chat("a")
    key.write_text("rotated")

    async def rotated():
        await mesh.chat(f"b{len(seen)}")
        return mesh.upstream.headers[-1]["api-key"] == "rotated"

    await eventually(rotated)
    assert mesh.upstream.headers[0]["api-key"] == "first"
    assert mesh.upstream.headers[0]["x-project"] == "p1"
    assert "authorization" not in mesh.upstream.headers[0]
    assert set(seen) == {"api-version=2026-01-01"}


async def test_the_clients_own_key_never_reaches_the_provider(mesh):
    key = mesh.folder / "provider-key"
    key.write_text("sk-provider")
    await redeclared(mesh, provider(mesh, auth={"file": str(key)}))
    await mesh.chat()
    assert mesh.upstream.headers[0]["authorization"] == "Bearer sk-provider"
    assert mesh.api_key not in str(mesh.upstream.headers)


async def test_a_missing_key_file_is_a_clear_error(mesh):
    await redeclared(mesh, provider(mesh, auth={"file": str(mesh.folder / "absent")}))
    assert await failure(mesh) == "PROVIDER_KEY_MISSING"


async def test_an_unreachable_provider_opens_its_breaker_and_recovers(mesh):
    port = free_port()
    await redeclared(mesh, provider(mesh, baseUrl=f"http://127.0.0.1:{port}/v1"))
    reasons = [await failure(mesh) for _ in range(4)]
    assert reasons == ["PROVIDER_MAIN_UNAVAILABLE"] * 3 + ["PROVIDER_MAIN_CIRCUIT_OPEN"]
    await redeclared(mesh, provider(mesh))
    assert (await mesh.chat()).body == completion()


async def test_more_calls_than_allowed_are_refused_not_queued(mesh):
    await redeclared(mesh, provider(mesh, maxConcurrent=1))
    release = asyncio.Event()

    async def wait(request, body):
        await release.wait()
        return await mesh.upstream.answer(request, body)

    mesh.upstream.handler = wait
    first = asyncio.create_task(mesh.chat("first"))
    await eventually(lambda: len(mesh.upstream.requests) == 1)
    assert await failure(mesh, prompt="second") == "PROVIDER_OVERLOADED"
    release.set()
    await first


async def test_a_changed_provider_lets_calls_under_way_end(mesh):
    release = asyncio.Event()

    async def wait(request, body):
        if len(mesh.upstream.requests) == 1:
            await release.wait()
        return await mesh.upstream.answer(request, body)

    mesh.upstream.handler = wait
    first = asyncio.create_task(mesh.chat("first"))
    await eventually(lambda: len(mesh.upstream.requests) == 1)
    await redeclared(mesh, provider(mesh, headers={"x-new": "1"}))
    await mesh.chat("second")
    assert mesh.upstream.headers[1]["x-new"] == "1"
    release.set()
    assert (await first).body == completion()


async def test_redirects_are_not_followed(mesh):
    async def redirect(request, body):
        return web.Response(status=302, headers={"location": "http://127.0.0.1:1/"})

    mesh.upstream.handler = redirect
    assert await failure(mesh) == "PROVIDER_FAILED"


async def test_an_answer_that_is_too_large_is_refused(mesh):
    async def huge(request, body):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(40):
            await response.write(b"x" * 1_000_000)
        return response

    mesh.upstream.handler = huge
    assert await failure(mesh) == "PROVIDER_ANSWER_TOO_LARGE"
    assert await failure(mesh, stream=True) == "PROVIDER_ANSWER_TOO_LARGE"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"'])
async def test_a_body_that_is_no_json_object_is_a_clear_error(mesh, body):
    async def garbage(request, _):
        return web.Response(body=body)

    mesh.upstream.handler = garbage
    assert await failure(mesh) == "PROVIDER_STREAM_BROKEN"
    assert not mesh.cache.entries
