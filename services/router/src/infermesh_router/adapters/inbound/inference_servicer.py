"""The typed surface: protobuf to the same use case that serves the OpenAI wire."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import grpc
from google.protobuf import json_format

from infermesh.common.v1 import cache_control_pb2
from infermesh.router.v1 import inference_pb2, inference_pb2_grpc
from infermesh_common.context import RequestContext, current
from infermesh_common.errors import InvalidArgument, Unavailable
from infermesh_common.usage import usage_to_proto
from infermesh_router.adapters.decision_proto import decision_headers, decision_to_proto
from infermesh_router.adapters.inbound.http_bodies import check_task
from infermesh_router.application.inference_optimizer import InferenceOptimizer, Started
from infermesh_router.domain.answer import Answer
from infermesh_router.domain.cache_control import check
from infermesh_router.domain.chat_stream import ChatStreamAssembler
from infermesh_router.domain.decision import Decision
from infermesh_router.domain.request import (
    AUTO,
    CacheControl,
    InferenceRequest,
    JsonObject,
    Surface,
    parse_chat,
)

Context = grpc.aio.ServicerContext[object, object]


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Serves `Infer` and `InferStream`.

    Args:
        optimizer: the use case.
    """

    def __init__(self, optimizer: InferenceOptimizer) -> None:
        self._optimizer = optimizer

    async def Infer(
        self, request: inference_pb2.InferRequest, context: Context
    ) -> inference_pb2.InferResponse:
        """Answers one conversation."""
        call = current()
        decision = Decision(_request_id(request, call))
        parts = self._optimizer.infer(_inference(request, stream=False), call.caller(), decision)
        answer = Answer(value={})
        async with aclosing(parts):
            async for part in parts:
                if isinstance(part, Started):
                    await context.send_initial_metadata(decision_headers(decision))
                elif isinstance(part, Answer):
                    answer = part
        return _response(answer.value, decision)

    async def InferStream(
        self, request: inference_pb2.InferStreamRequest, context: Context
    ) -> AsyncIterator[inference_pb2.InferStreamResponse]:
        """Answers one conversation as it is produced."""
        call = current()
        inner = request.request
        decision = Decision(_request_id(inner, call))
        parts = self._optimizer.infer(_inference(inner, stream=True), call.caller(), decision)
        assembler = ChatStreamAssembler()
        async with aclosing(parts):
            async for part in parts:
                if isinstance(part, Started):
                    await context.send_initial_metadata(decision_headers(decision))
                    continue
                assert not isinstance(part, Answer), "a streamed answer comes in chunks"
                for chunk in part:
                    assembler.add(chunk.value)
                if text := "".join(_text_delta(chunk.value) for chunk in part):
                    yield inference_pb2.InferStreamResponse(content_delta=text)
        completed = _response(assembler.body(), decision)
        yield inference_pb2.InferStreamResponse(completed=completed)


def _request_id(request: inference_pb2.InferRequest, call: RequestContext) -> str:
    """The caller's id is in the metadata or in the message; the message counts."""
    if not request.request_id:
        return call.request_id
    return call.adopt_request_id(request.request_id)


def _inference(request: inference_pb2.InferRequest, *, stream: bool) -> InferenceRequest:
    body = _chat_body(request)
    parse_chat(body)
    return InferenceRequest(
        surface=Surface.CHAT,
        body=body,
        model=request.model or AUTO,
        acceptable_models=tuple(request.acceptable_models),
        stream=stream,
        wire="infermesh.v1",
        task=check_task(request.task),
        tags=tuple(dict.fromkeys(request.tags)),
        cache=_cache_control(request.cache),
    )


def _chat_body(request: inference_pb2.InferRequest) -> JsonObject:
    if bool(request.prompt) == bool(request.messages):
        raise InvalidArgument(
            "INVALID_MESSAGES", "Give either 'messages' or 'prompt'.", field="messages"
        )
    body = _whole_numbers(json_format.MessageToDict(request.parameters))
    assert isinstance(body, dict)
    for owned in ("model", "messages", "stream", "stream_options"):
        if owned in body:
            raise InvalidArgument(
                "INVALID_PARAMETERS",
                f"'parameters' must not hold {owned!r}: it has a field of its own.",
                field=f"parameters.{owned}",
            )
    for name in ("temperature", "top_p", "max_tokens", "seed"):
        if request.HasField(name):
            body[name] = getattr(request, name)
    if request.stop:
        body["stop"] = list(request.stop)
    body["messages"] = (
        [{"role": "user", "content": request.prompt}]
        if request.prompt
        else [_message(message) for message in request.messages]
    )
    return body


def _message(message: inference_pb2.Message) -> dict[str, object]:
    parts = [_whole_numbers(json_format.MessageToDict(part)) for part in message.parts]
    out: dict[str, object] = {"role": message.role, "content": parts or message.content}
    if message.name:
        out["name"] = message.name
    if message.tool_call_id:
        out["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        out["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return out


def _whole_numbers(value: object) -> object:
    """protobuf's Struct has only doubles: 5.0 was 5 before."""
    if isinstance(value, dict):
        return {name: _whole_numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _cache_control(control: cache_control_pb2.CacheControl) -> CacheControl:
    return check(
        CacheControl(
            bypass=control.bypass,
            refresh=control.refresh,
            only_if_cached=control.only_if_cached,
            no_store=control.no_store,
            max_age_s=control.max_age.ToSeconds() if control.HasField("max_age") else None,
            ttl_s=control.ttl.ToSeconds() if control.HasField("ttl") else None,
        )
    )


def _text_delta(chunk: JsonObject) -> str:
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    delta = first.get("delta") if isinstance(first, dict) else None
    text = delta.get("content") if isinstance(delta, dict) else None
    return text if isinstance(text, str) else ""


def _response(answer: Mapping[str, object], decision: Decision) -> inference_pb2.InferResponse:
    try:
        choices = answer["choices"]
        assert isinstance(choices, list)
        choice = choices[0]
        message = choice["message"]
        return inference_pb2.InferResponse(
            request_id=decision.request_id,
            model=str(answer.get("model") or decision.model),
            message=inference_pb2.Message(
                role=message.get("role") or "assistant",
                content=message.get("content") or "",
                tool_calls=[
                    inference_pb2.ToolCall(
                        id=call["id"],
                        name=call["function"]["name"],
                        arguments=call["function"]["arguments"],
                    )
                    for call in message.get("tool_calls") or ()
                ],
            ),
            finish_reason=choice.get("finish_reason") or "",
            usage=usage_to_proto(decision.answer_usage) if decision.answer_usage else None,
            decision=decision_to_proto(decision),
        )
    except (AssertionError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(
            "PROVIDER_ANSWER_INVALID", "The provider's answer is not a chat completion."
        ) from error
