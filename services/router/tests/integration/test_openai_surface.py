"""The OpenAI wire over real gRPC: misses, hits, streams, routing, lists."""

from decimal import Decimal

import grpc
import orjson
import pytest
from google.protobuf import empty_pb2

from infermesh.analytics.v1 import events_pb2
from infermesh.common.v1 import decision_pb2
from infermesh.router.v1 import openai_pb2
from infermesh_common.identity.model import Role
from infermesh_common.testing.resources import resource
from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import chunks, completion, failing


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


async def test_a_failed_model_is_replaced_inside_the_constraints(mesh, reason_of):
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


async def test_models_are_listed_for_the_tenant(mesh, reason_of):
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


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cost_money_ends_after_its_event_is_in_the_stream(mesh, stream):
    body = {"model": "cheap", "messages": [{"role": "user", "content": "Paid?"}], "stream": stream}
    for number in range(5):
        await mesh.post(orjson.dumps({**body, "seed": number}))
        assert len(mesh.events()) == number + 1
