"""What a client and the ledger see when models fail, are limited or are slow."""

import asyncio

import grpc
import orjson
import pytest
from google.api import httpbody_pb2

from infermesh.analytics.v1 import events_pb2
from infermesh.router.v1 import operations_pb2
from infermesh_common.testing.resources import resource
from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import break_off, chunks, failing, hang, sse

UNKNOWN = "what it billed is not known"
both = pytest.mark.parametrize("stream", [False, True])


async def declare(mesh, **policy):
    async def revision():
        health = await mesh.operations.GetHealth(operations_pb2.GetHealthRequest())
        return health.configuration_revision

    before = await revision()
    mesh.declare(resource("RoutePolicy", "default", baselineModel="dear", **policy))

    async def in_force():
        return await revision() != before

    await eventually(in_force)


def only_cheap(mesh, handler):
    """Does `handler` for the model "cheap"; the other one answers."""

    async def handle(request, body):
        if body["model"] == "upstream-cheap":
            return await handler(request, body)
        return await mesh.upstream.answer(request, body)

    mesh.upstream.handler = handle


def asked(mesh):
    return [body["model"] for body in mesh.upstream.requests]


@both
async def test_a_named_model_is_never_replaced_without_leave(mesh, stream):
    only_cheap(mesh, failing(503, {"message": "down"}))
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.chat(stream=stream)
    assert asked(mesh) == ["upstream-cheap"]


@both
async def test_a_fallback_answers_is_charged_and_says_what_is_not_known(mesh, stream):
    await declare(mesh, fallbacks={"cheap": ["dear"]})
    only_cheap(mesh, failing(503, {"message": "down"}))
    reply = await mesh.chat(stream=stream)
    assert reply.headers["x-infermesh-model"] == "dear"
    event = await mesh.event()
    assert event.outcome == events_pb2.OUTCOME_SUCCEEDED
    # 9 + 4 tokens at 10 US dollars per million: what "dear" was paid, and nothing guessed.
    assert event.decision.cost.amount == "0.00013"
    assert list(event.decision.fallbacks) == [f"cheap: PROVIDER_FAILED, {UNKNOWN}"]
    assert [c.model for c in event.decision.candidates] == ["cheap", "dear"]
    assert (await mesh.chat(stream=stream)).headers["x-infermesh-cache"] == "hit"


@pytest.mark.parametrize("then", [break_off, hang])
async def test_a_client_sees_nothing_of_a_stream_that_died_before_its_first_token(mesh, then):
    await declare(mesh, fallbacks={"cheap": ["dear"]})
    role = sse({**chunks()[0], "id": "of-the-dead"})

    async def dies(request, body):
        return await mesh.upstream.stream(request, [role], then=then)

    only_cheap(mesh, dies)
    reply = await mesh.chat(stream=True)
    assert reply.text == "Paris." and b"of-the-dead" not in reply.data
    assert asked(mesh) == ["upstream-cheap", "upstream-dear"]


async def test_after_the_first_token_there_is_an_error_no_fallback_and_no_entry(mesh):
    await declare(mesh, fallbacks={"cheap": ["dear"]})

    async def dies(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=hang)

    only_cheap(mesh, dies)
    body = {"model": "cheap", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    call = mesh.openai.CreateChatCompletion(
        httpbody_pb2.HttpBody(data=orjson.dumps(body)), metadata=mesh.metadata()
    )
    seen = []
    with pytest.raises(grpc.aio.AioRpcError):
        async for part in call:
            seen.append(part.data)
    assert b"Par" in seen[0] and b'"error"' in seen[-1]
    assert asked(mesh) == ["upstream-cheap"] and not mesh.cache.entries
    event = await mesh.event()
    assert event.outcome == events_pb2.OUTCOME_FAILED and not event.decision.HasField("cost")


@both
async def test_a_limited_provider_is_left_alone_for_as_long_as_it_says(mesh, stream):
    mesh.upstream.handler = failing(429, {"message": "slow down"}, retry_after="40")
    reasons = []
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mesh.chat(stream=stream)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        reasons.append(int(dict(caught.value.trailing_metadata())["retry-after"]))
    assert len(mesh.upstream.requests) == 1
    assert all(30 < seconds <= 40 for seconds in reasons)
    event = await mesh.event(at_least=3)
    assert event.decision.cost.amount == "0", "nobody was called"


@both
async def test_a_hedge_is_charged_for_the_winner_and_says_that_the_loser_is_not_known(mesh, stream):
    await declare(mesh, fallbacks={"cheap": ["dear"]}, hedgeAfterMs=20)
    only_cheap(mesh, hang)
    reply = await mesh.chat(stream=stream)
    assert reply.headers["x-infermesh-model"] == "dear"
    await asyncio.wait_for(mesh.upstream.disconnected.wait(), 20)
    event = await mesh.event()
    assert event.decision.cost.amount == "0.00013"
    told = f"cheap: cancelled, another model was faster, {UNKNOWN}"
    assert list(event.decision.fallbacks) == [told]


async def test_there_is_no_hedge_unless_the_policy_asks_for_one(mesh):
    await declare(mesh, fallbacks={"cheap": ["dear"]})
    release = asyncio.Event()

    async def slow(request, body):
        await release.wait()
        return await mesh.upstream.answer(request, body)

    only_cheap(mesh, slow)
    task = asyncio.create_task(mesh.chat())
    await eventually(lambda: len(mesh.upstream.requests) == 1)
    release.set()
    assert (await task).headers["x-infermesh-model"] == "cheap"
    assert asked(mesh) == ["upstream-cheap"]
