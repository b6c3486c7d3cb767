"""Infer, InferStream and what operators ask, over real gRPC."""

import uuid

import aiohttp
import grpc
import pytest
from aiohttp import web
from google.protobuf import empty_pb2, struct_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from infermesh.common.v1 import cache_control_pb2, decision_pb2, page_pb2
from infermesh.router.v1 import inference_pb2, operations_pb2
from infermesh_common.identity.model import Role
from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import chunks, completion, sse


def reason(error):
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    return info.reason


async def infer(mesh, api_key=None, **fields):
    return await mesh.inference.Infer(
        inference_pb2.InferRequest(**fields), metadata=mesh.metadata(api_key), timeout=30
    )


async def test_infer_answers_with_the_decision(mesh):
    request_id = str(uuid.uuid4())
    answer = await infer(mesh, prompt="Capital?", request_id=request_id, tags=["a"])
    assert answer.message.content == "Paris."
    assert answer.finish_reason == "stop"
    assert answer.request_id == request_id
    assert answer.decision.decision_id != request_id
    assert answer.decision.model == "cheap"
    assert answer.usage.input_tokens == 9
    event = await mesh.event()
    assert (event.request_id, event.requested_model) == (request_id, "auto")


async def test_both_surfaces_share_one_cache(mesh):
    await infer(mesh, prompt="Capital of France?", model="cheap")
    reply = await mesh.chat()
    assert reply.headers["x-infermesh-cache"] == "hit"


async def test_infer_stream_ends_with_the_whole_answer(mesh):
    request = inference_pb2.InferStreamRequest(
        request=inference_pb2.InferRequest(prompt="Capital?", model="cheap")
    )
    for status in (decision_pb2.CACHE_STATUS_MISS, decision_pb2.CACHE_STATUS_HIT):
        stream = mesh.inference.InferStream(request, metadata=mesh.metadata())
        events = [event async for event in stream]
        assert "".join(event.content_delta for event in events) == "Paris."
        assert events[-1].completed.message.content == "Paris."
        assert events[-1].completed.decision.cache_status == status
        assert events[-1].completed.decision.HasField("cost")


async def test_fields_reach_the_provider_as_they_were_meant(mesh):
    parameters = struct_pb2.Struct()
    parameters.update({"n": 1, "logit_bias": {"50256": -100}, "presence_penalty": 0.5})
    part = struct_pb2.Struct()
    part.update({"type": "text", "text": "Hi"})
    await infer(
        mesh,
        model="cheap",
        messages=[
            inference_pb2.Message(role="system", content="Be brief."),
            inference_pb2.Message(role="user", parts=[part], name="ann"),
            inference_pb2.Message(
                role="assistant",
                tool_calls=[inference_pb2.ToolCall(id="1", name="f", arguments="{}")],
            ),
            inference_pb2.Message(role="tool", content="42", tool_call_id="1"),
        ],
        parameters=parameters,
        temperature=0.25,
        max_tokens=5,
        seed=2**53 + 1,
        stop=["\n"],
    )
    assert mesh.upstream.requests[0] == {
        "model": "upstream-cheap",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "ann"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "content": "42", "tool_call_id": "1"},
        ],
        "n": 1,
        "logit_bias": {"50256": -100},
        "presence_penalty": 0.5,
        "temperature": 0.25,
        "max_tokens": 5,
        "seed": 2**53 + 1,
        "stop": ["\n"],
    }


async def test_tool_calls_come_back(mesh):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    async def with_tools(request, body):
        if body.get("stream"):
            head, *_, usage = chunks()
            delta = {"tool_calls": [{"index": 0, **call}]}
            middle = {"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]}
            events = [sse(head), sse({**head, **middle}), sse(usage), b"data: [DONE]\n\n"]
            return await mesh.upstream.stream(request, events)
        answer = completion(finish_reason="tool_calls")
        answer["choices"][0]["message"] = {
            "role": "assistant",
            "content": None,
            "tool_calls": [call],
        }
        return web.json_response(answer)

    mesh.upstream.handler = with_tools
    whole = await infer(mesh, prompt="a", model="cheap")
    request = inference_pb2.InferRequest(prompt="b", model="cheap")
    stream = mesh.inference.InferStream(
        inference_pb2.InferStreamRequest(request=request), metadata=mesh.metadata()
    )
    streamed = [event async for event in stream][-1].completed
    for answer in (whole, streamed):
        assert answer.finish_reason == "tool_calls"
        assert [(c.id, c.name, c.arguments) for c in answer.message.tool_calls] == [
            ("1", "f", "{}")
        ]


def owned():
    parameters = struct_pb2.Struct()
    parameters.update({"model": "other"})
    return parameters


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "INVALID_MESSAGES"),
        ({"prompt": "x", "messages": [inference_pb2.Message(role="user")]}, "INVALID_MESSAGES"),
        ({"prompt": "x", "request_id": "7"}, "INVALID_REQUEST_ID"),
        ({"prompt": "x", "parameters": owned()}, "INVALID_PARAMETERS"),
        ({"prompt": "x", "temperature": 7}, "INVALID_NUMBER"),
        ({"prompt": "x", "temperature": float("nan")}, "INVALID_NUMBER"),
        ({"prompt": "x", "model": "nonsense"}, "MODEL_NOT_FOUND"),
        ({"prompt": "x", "tags": ["x" * 101]}, "INVALID_TAG"),
        ({"prompt": "x", "task": "x" * 65}, "INVALID_TASK"),
    ],
)
async def test_a_bad_request_is_a_clear_status(mesh, fields, expected):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(mesh, **fields)
    assert reason(caught.value) == expected


async def test_cache_controls_of_the_message_count(mesh):
    await infer(mesh, prompt="x", model="cheap")
    control = cache_control_pb2.CacheControl(refresh=True)
    answer = await infer(mesh, prompt="x", model="cheap", cache=control)
    assert answer.decision.cache_status == decision_pb2.CACHE_STATUS_REFRESH
    control = cache_control_pb2.CacheControl(only_if_cached=True)
    control.max_age.FromSeconds(60)
    answer = await infer(mesh, prompt="x", model="cheap", cache=control)
    assert answer.decision.cache_status == decision_pb2.CACHE_STATUS_HIT


async def test_an_answer_that_is_no_completion_is_a_clear_error(mesh):
    async def nonsense(request, body):
        return web.json_response({"choices": [{"finish_reason": "stop", "message": 7}]})

    mesh.upstream.handler = nonsense
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(mesh, prompt="x")
    assert reason(caught.value) == "PROVIDER_STREAM_BROKEN"


async def test_health_needs_no_key_and_tells_what_is_missing(mesh):
    async def status_is(expected):
        answer = await mesh.operations.GetHealth(operations_pb2.GetHealthRequest())
        return answer.status == expected

    await eventually(lambda: status_is("SERVING"))
    health = await mesh.operations.GetHealth(operations_pb2.GetHealthRequest())
    needed = ("identity", "resources", "secrets", "cache")
    assert dict(health.dependencies) == dict.fromkeys(needed, "SERVING")
    assert health.configuration_revision
    mesh.cache.down = True
    for _ in range(3):
        await mesh.chat()
    assert await status_is("DEGRADED")


async def test_metrics_are_for_operators_and_have_a_port_of_their_own(mesh):
    await mesh.chat()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.operations.GetMetrics(empty_pb2.Empty(), metadata=mesh.metadata())
    assert reason(caught.value) == "ROLE_REQUIRED"
    operator = mesh.governance.issue("", Role.OPERATOR)
    exposed = await mesh.operations.GetMetrics(empty_pb2.Empty(), metadata=mesh.metadata(operator))
    line = b'infermesh_inferences_total{cache_status="miss",model="cheap",outcome="succeeded"'
    assert line in exposed.data
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{mesh.metrics_port}/metrics") as response:
            assert line in await response.read()


async def test_the_registry_is_listed_in_pages_with_its_revision(mesh):
    first = await mesh.operations.ListRegisteredModels(
        operations_pb2.ListRegisteredModelsRequest(page=page_pb2.PageRequest(page_size=1)),
        metadata=mesh.metadata(),
    )
    assert [m.name for m in first.models] == ["cheap"]
    assert first.models[0].priced
    rest = await mesh.operations.ListRegisteredModels(
        operations_pb2.ListRegisteredModelsRequest(
            page=page_pb2.PageRequest(page_token=first.page.next_page_token)
        ),
        metadata=mesh.metadata(mesh.governance.issue("", Role.OPERATOR)),
    )
    assert [m.name for m in rest.models] == ["dear"]
    assert not rest.page.next_page_token
    assert first.configuration_revision == rest.configuration_revision
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.operations.ListRegisteredModels(
            operations_pb2.ListRegisteredModelsRequest(page=page_pb2.PageRequest(page_token="?")),
            metadata=mesh.metadata(),
        )
