"""The OpenAI wire over real gRPC: misses, hits, streams, sharing, refusals."""

import asyncio
from decimal import Decimal

import grpc
import orjson
import pytest
from aiohttp import web
from google.api import httpbody_pb2
from google.protobuf import empty_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from infermesh.analytics.v1 import events_pb2
from infermesh.common.v1 import decision_pb2
from infermesh.router.v1 import openai_pb2, operations_pb2
from infermesh_common.identity.model import Role
from infermesh_common.testing.resources import resource
from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import (
    break_off,
    chunks,
    completion,
    failing,
    hang,
    sse,
)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "infermesh.dev"
    return info.reason


def openai_body(error: grpc.aio.AioRpcError) -> dict[str, object]:
    trailers = dict(error.trailing_metadata() or ())
    body = orjson.loads(trailers["x-infermesh-error"])["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return body


async def test_a_miss_is_answered_priced_and_explained(mesh):
    reply = await mesh.chat(
        headers={"x-infermesh-tags": "team=search, beta"}, unheard_of={"a": [1]}
    )
    assert reply.body == completion()
    assert mesh.upstream.requests == [
        {
            "model": "upstream-cheap",
            "messages": [{"role": "user", "content": "Capital of France?"}],
            "unheard_of": {"a": [1]},
        }
    ]
    assert reply.headers["x-infermesh-cache"] == "miss"
    assert reply.headers["x-infermesh-cost-usd"] == "0.000013"
    event = await mesh.event()
    decision = event.decision
    assert event.event_id == decision.decision_id == reply.headers["x-infermesh-decision-id"]
    assert (event.tenant, list(event.tags)) == ("acme", ["team=search", "beta"])
    assert event.outcome == events_pb2.OUTCOME_SUCCEEDED
    assert decision.cache_status == decision_pb2.CACHE_STATUS_MISS
    assert Decimal(decision.cost.amount) == Decimal(13) / 1_000_000
    assert Decimal(decision.baseline_cost.amount) == Decimal(130) / 1_000_000
    assert decision.baseline_model == "dear"
    assert Decimal(decision.saved.amount) == Decimal(117) / 1_000_000
    assert (decision.usage.input_tokens, decision.usage.output_tokens) == (9, 4)
    assert [stage.stage for stage in decision.stages] == [
        "route",
        "cache.lookup",
        "model",
        "cache.store",
    ]
    assert decision.store_outcome == "stored"


async def test_a_hit_costs_nothing_and_says_what_it_saved(mesh):
    await mesh.chat()
    reply = await mesh.chat()
    assert reply.body == completion()
    assert len(mesh.upstream.requests) == 1
    assert reply.headers["x-infermesh-tier"] == "exact"
    assert reply.headers["x-infermesh-cache"] == "hit"
    assert reply.headers["x-infermesh-cost-usd"] == "0"
    assert reply.headers["x-infermesh-saved-usd"] == "0.00013"
    event = await mesh.event(at_least=2)
    assert event.decision.usage.ByteSize() == 0
    assert event.decision.baseline_usage.input_tokens == 9


async def test_a_stream_passes_through_and_hides_the_usage_nobody_asked_for(mesh):
    reply = await mesh.chat(stream=True)
    assert reply.text == "Paris."
    assert reply.events == chunks()[:-1]
    assert mesh.upstream.requests[0]["stream_options"] == {"include_usage": True}
    event = await mesh.event()
    assert event.streamed
    assert event.decision.cost.amount == "0.000013"


@pytest.mark.parametrize("first_streams", [True, False])
@pytest.mark.parametrize("then_streams", [True, False])
async def test_a_hit_replays_as_whichever_was_asked(mesh, first_streams, then_streams):
    await mesh.chat(stream=first_streams)
    reply = await mesh.chat(stream=then_streams, stream_options={"include_usage": True})
    assert len(mesh.upstream.requests) == 1
    assert reply.headers["x-infermesh-cache"] == "hit"
    if then_streams:
        assert reply.text == "Paris."
        assert reply.events[-1]["usage"] == completion()["usage"]
        assert reply.events[-1]["choices"] == []
    else:
        assert reply.body["choices"] == completion()["choices"]
        assert reply.body["object"] == "chat.completion"


async def test_n_identical_concurrent_requests_make_one_upstream_call(mesh):
    release = asyncio.Event()

    async def wait(request, body):
        await release.wait()
        return await mesh.upstream.answer(request, body)

    mesh.upstream.handler = wait
    burst = [asyncio.create_task(mesh.chat(stream=n % 2 == 0)) for n in range(8)]
    await eventually(lambda: mesh.cache.lookups >= 8)
    release.set()
    replies = await asyncio.gather(*burst)
    assert len(mesh.upstream.requests) == 1
    statuses = sorted(reply.headers["x-infermesh-cache"] for reply in replies)
    assert statuses.count("miss") == 1
    assert statuses.count("shared") + statuses.count("hit") == 7


async def test_the_leaders_failure_is_not_shared_as_an_answer(mesh):
    release = asyncio.Event()

    async def fail_first(request, body):
        if len(mesh.upstream.requests) == 1:
            await release.wait()
            return await failing(400, {"message": "no"})(request, body)
        return await mesh.upstream.answer(request, body)

    mesh.upstream.handler = fail_first
    burst = [asyncio.create_task(mesh.chat()) for _ in range(4)]
    await eventually(lambda: mesh.cache.lookups >= 4)
    release.set()
    results = await asyncio.gather(*burst, return_exceptions=True)
    failed = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert [error.code() for error in failed] == [grpc.StatusCode.INVALID_ARGUMENT]
    assert len(mesh.upstream.requests) == 2


async def test_a_lease_is_renewed_while_the_model_works_and_given_up_when_it_fails(mesh):
    mesh.cache.lease_ttl_s = 0.06

    async def slow(request, body):
        await eventually(lambda: mesh.cache.renewals >= 3)
        return await failing(400, {"message": "no"})(request, body)

    mesh.upstream.handler = slow
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.chat()
    await eventually(lambda: not mesh.cache.flights)


async def test_two_tenants_never_share_an_answer(mesh):
    await mesh.chat()
    reply = await mesh.chat(api_key=mesh.governance.issue("globex"))
    assert reply.headers["x-infermesh-cache"] == "miss"
    assert len(mesh.upstream.requests) == 2


@pytest.mark.parametrize(
    ("control", "status", "calls"),
    [
        ("bypass", "bypass", 2),
        ("refresh", "refresh", 2),
        ("only-if-cached", "hit", 1),
        ("max-age=3600", "hit", 1),
    ],
)
async def test_request_controls_rule_the_cache(mesh, control, status, calls):
    await mesh.chat()
    reply = await mesh.chat(headers={"x-infermesh-cache": control})
    assert reply.headers["x-infermesh-cache"] == status
    assert len(mesh.upstream.requests) == calls


async def test_only_if_cached_without_an_entry_calls_nobody(mesh):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(headers={"x-infermesh-cache": "only-if-cached"})
    assert reason_of(caught.value) == "CACHE_MISS"
    assert not mesh.upstream.requests
    event = await mesh.event()
    assert (event.outcome, event.decision.cost.amount) == (events_pb2.OUTCOME_FAILED, "0")


@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
@pytest.mark.parametrize("stream", [True, False])
async def test_truncated_and_filtered_answers_are_not_stored(mesh, finish_reason, stream):
    async def cut(request, body):
        if body.get("stream"):
            events = [*map(sse, chunks(finish_reason=finish_reason)), b"data: [DONE]\n\n"]
            return await mesh.upstream.stream(request, events)
        return web.json_response(completion(finish_reason=finish_reason))

    mesh.upstream.handler = cut
    await mesh.chat(stream=stream)
    assert not mesh.cache.entries
    event = await mesh.event()
    assert event.decision.store_outcome == f"finish_reason is {finish_reason}"


async def test_no_store_and_hot_requests_are_not_stored(mesh):
    await mesh.chat(headers={"x-infermesh-cache": "no-store"})
    reply = await mesh.chat(temperature=1.5)
    assert reply.headers["x-infermesh-cache"] == "ineligible"
    assert not mesh.cache.entries


async def test_a_stream_that_breaks_upstream_is_an_error_and_is_not_cached(mesh):
    async def breaks(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=break_off)

    mesh.upstream.handler = breaks
    stub = mesh.openai
    body = {"model": "cheap", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    call = stub.CreateChatCompletion(
        httpbody_pb2.HttpBody(data=orjson.dumps(body)), metadata=mesh.metadata()
    )
    seen = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for part in call:
            seen.append(part.data)
    assert reason_of(caught.value) == "PROVIDER_STREAM_BROKEN"
    assert orjson.loads(seen[-1].removeprefix(b"data: "))["error"]["code"] == (
        "provider_stream_broken"
    )
    assert b"[DONE]" not in b"".join(seen)
    assert not mesh.cache.entries
    event = await mesh.event()
    assert event.outcome == events_pb2.OUTCOME_FAILED
    assert not event.decision.HasField("cost")


@pytest.mark.parametrize(
    "pieces",
    [
        [sse({"choices": []})],
        [sse(chunks()[1]), b"data: [DONE]\n\n"],
        [b"data: not json\n\n"],
        [sse([1])],
        [sse({"error": {"message": "overloaded"}})],
        [sse({"choices": [{"index": 0, "delta": 3}]})],
    ],
)
async def test_an_unfinished_or_garbled_stream_is_never_cached(mesh, pieces):
    async def garbled(request, body):
        return await mesh.upstream.stream(request, pieces)

    mesh.upstream.handler = garbled
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(stream=True)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not mesh.cache.entries


async def test_a_client_that_leaves_cancels_the_upstream_call(mesh):
    async def endless(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=hang)

    mesh.upstream.handler = endless
    body = {"model": "cheap", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    call = mesh.openai.CreateChatCompletion(
        httpbody_pb2.HttpBody(data=orjson.dumps(body)), metadata=mesh.metadata()
    )
    await call.read()
    call.cancel()
    await asyncio.wait_for(mesh.upstream.disconnected.wait(), 20)
    event = await mesh.event()
    assert event.outcome == events_pb2.OUTCOME_CANCELLED
    assert not event.decision.HasField("cost")
    await eventually(lambda: not mesh.cache.flights)


async def test_a_cache_that_is_down_or_stuck_never_fails_a_request(mesh):
    mesh.cache.down = True
    for _ in range(4):
        reply = await mesh.chat()
        assert reply.headers["x-infermesh-cache"] == "unavailable"
    mesh.cache.down = False
    mesh.cache.stuck = True
    assert (await mesh.chat()).headers["x-infermesh-cache"] == "unavailable"
    mesh.cache.stuck = False

    async def recovered() -> bool:
        return (await mesh.chat()).headers["x-infermesh-cache"] in ("miss", "hit")

    await eventually(recovered)


async def test_auto_goes_to_the_cheapest_model_that_is_good_enough(mesh):
    await mesh.chat(model="auto")
    event = await mesh.event()
    assert event.decision.model == "cheap"
    assert [c.model for c in event.decision.candidates] == ["cheap", "dear"]
    mesh.declare(resource("RoutePolicy", "default", qualityFloor={"general": 0.8}))

    async def routed_to_dear() -> bool:
        await mesh.chat(model="auto")
        return mesh.upstream.requests[-1]["model"] == "upstream-dear"

    await eventually(routed_to_dear)


async def test_a_failed_model_is_replaced_inside_the_constraints(mesh):
    async def cheap_fails(request, body):
        if body["model"] == "upstream-cheap":
            return await failing(503, {"message": "down"})(request, body)
        return await mesh.upstream.answer(request, body)

    mesh.upstream.handler = cheap_fails
    for stream in (False, True):
        await mesh.chat(f"stream {stream}", model="auto", stream=stream)
    event = await mesh.event(at_least=2)
    assert event.decision.model == "dear"
    told = "cheap: PROVIDER_FAILED, what it billed is not known"
    assert list(event.decision.fallbacks) == [told]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat("named", model="cheap")
    assert reason_of(caught.value) == "PROVIDER_FAILED"


async def test_embeddings_are_served_and_cached(mesh):
    body = orjson.dumps({"model": "cheap", "input": "hello", "encoding_format": "float"})
    first = await mesh.post(body, path="embeddings")
    second = await mesh.post(body, path="embeddings")
    assert first.body == second.body
    assert second.headers["x-infermesh-cache"] == "hit"
    event = await mesh.event(0)
    assert (event.protocol, event.decision.cost.amount) == ("openai.embeddings", "0.000003")


async def test_models_are_listed_for_the_tenant(mesh):
    listed = await mesh.openai.ListModels(empty_pb2.Empty(), metadata=mesh.metadata())
    assert [m["id"] for m in orjson.loads(listed.data)["data"]] == ["auto", "cheap", "dear"]
    one = await mesh.openai.GetModel(
        openai_pb2.GetModelRequest(model="best"), metadata=mesh.metadata()
    )
    assert orjson.loads(one.data)["id"] == "dear"
    operator = mesh.governance.issue("", Role.OPERATOR)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.openai.ListModels(empty_pb2.Empty(), metadata=mesh.metadata(operator))
    assert reason_of(caught.value) == "TENANT_REQUIRED"


BAD_BODIES = {
    "malformed": (b'{"model": ', "INVALID_JSON"),
    "empty": (b"", "INVALID_JSON"),
    "nan": (
        b'{"model":"cheap","messages":[{"role":"user","content":"x"}],"top_p":NaN}',
        "INVALID_JSON",
    ),
    "utf8": (b'{"model":"cheap","messages":[{"role":"user","content":"\xff"}]}', "INVALID_JSON"),
    "surrogate": (b'{"model":"\\ud800","messages":[]}', "INVALID_JSON"),
    "deep": (b'{"model":"cheap","messages":' + b"[" * 5000 + b"]" * 5000 + b"}", "INVALID_JSON"),
    "deep but parsed": (
        b'{"model":"cheap","messages":[{"role":"user","content":"x"}],"x":'
        + b"[" * 800
        + b"]" * 800
        + b"}",
        "REQUEST_NOT_CANONICAL",
    ),
    "list": (b"[]", "INVALID_JSON"),
    "no model": (b'{"messages":[{"role":"user","content":"x"}]}', "MODEL_MISSING"),
    "no messages": (b'{"model":"cheap"}', "INVALID_MESSAGES"),
    "odd message": (b'{"model":"cheap","messages":[1]}', "INVALID_MESSAGES"),
    "hot": (b'{"model":"cheap","messages":[{"role":"user"}],"temperature":9}', "INVALID_NUMBER"),
    "true": (b'{"model":"cheap","messages":[{"role":"user"}],"top_p":true}', "INVALID_NUMBER"),
    "stream": (b'{"model":"cheap","messages":[{"role":"user"}],"stream":"yes"}', "INVALID_STREAM"),
    "options": (
        b'{"model":"cheap","messages":[{"role":"user"}],"stream_options":1}',
        "INVALID_STREAM_OPTIONS",
    ),
    "unknown model": (b'{"model":"gpt-99","messages":[{"role":"user"}]}', "MODEL_NOT_FOUND"),
}


@pytest.mark.parametrize("case", BAD_BODIES)
async def test_a_bad_body_is_a_clear_error_in_openais_shape(mesh, case):
    data, expected = BAD_BODIES[case]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.post(data)
    assert reason_of(caught.value) == expected
    body = openai_body(caught.value)
    assert (body["type"], body["code"]) == ("invalid_request_error", expected.lower())
    assert not mesh.upstream.requests


@pytest.mark.parametrize(
    "headers",
    [
        {"x-infermesh-cache": "sometimes"},
        {"x-infermesh-cache": "bypass, only-if-cached"},
        {"x-infermesh-tags": "x" * 101},
        {"x-infermesh-task": "x" * 65},
    ],
)
async def test_a_bad_control_header_is_a_clear_error(mesh, headers):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(headers=headers)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, grpc.StatusCode.INVALID_ARGUMENT, "PROVIDER_REJECTED_REQUEST"),
        (401, grpc.StatusCode.UNAVAILABLE, "PROVIDER_REFUSED_CREDENTIALS"),
        (404, grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND"),
        (429, grpc.StatusCode.RESOURCE_EXHAUSTED, "PROVIDER_RATE_LIMITED"),
        (500, grpc.StatusCode.UNAVAILABLE, "PROVIDER_FAILED"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_providers_refusal_says_whose_fault_it_is(mesh, status, code, reason, stream):
    error = {"message": "Ungültig: é", "type": "t", "code": "context_length_exceeded", "param": "p"}
    mesh.upstream.handler = failing(status, error, retry_after="7")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(stream=stream)
    assert (caught.value.code(), reason_of(caught.value)) == (code, reason)
    body = openai_body(caught.value)
    if status == 400:
        assert body == {**error, "message": "Ungültig: é"}
    if status == 429:
        assert dict(caught.value.trailing_metadata())["retry-after"] == "7"
    assert not mesh.cache.entries


async def test_no_time_out_of_a_provider_is_exceeded(mesh):
    mesh.upstream.handler = hang
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(stream=True)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    async def stops_talking(request, body):
        return await mesh.upstream.stream(request, [sse(chunks()[1])], then=hang)

    mesh.upstream.handler = stops_talking
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(stream=True)
    assert reason_of(caught.value) == "PROVIDER_TIMEOUT"


async def test_a_request_that_stopped_waiting_asks_the_model_and_leaves_the_entry_to_the_leader(
    mesh,
):
    release = asyncio.Event()

    async def first_waits(request, body):
        if len(mesh.upstream.requests) == 1:
            await release.wait()
        return await mesh.upstream.answer(request, body)

    async def revision():
        health = await mesh.operations.GetHealth(operations_pb2.GetHealthRequest())
        return health.configuration_revision

    before = await revision()
    mesh.declare(resource("CachePolicy", "default", singleFlightWaitMs=100))

    async def policy_in_force():
        return await revision() != before

    await eventually(policy_in_force)
    mesh.upstream.handler = first_waits
    leader = asyncio.create_task(mesh.chat())
    await eventually(lambda: len(mesh.upstream.requests) == 1)
    assert (await mesh.chat()).headers["x-infermesh-cache"] == "miss"
    assert not mesh.cache.entries
    release.set()
    await leader
    assert len(mesh.cache.entries) == 1
