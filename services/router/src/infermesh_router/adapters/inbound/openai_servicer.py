"""The OpenAI wire."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing

import grpc
import orjson
from google.api import httpbody_pb2
from google.protobuf import empty_pb2

from infermesh.router.v1 import openai_pb2, openai_pb2_grpc
from infermesh_common.context import RequestContext, current
from infermesh_common.errors import InvalidArgument, PermissionDenied
from infermesh_common.identity.model import Identity
from infermesh_common.resources.types import Model
from infermesh_common.rpc.pipeline import map_error
from infermesh_router.adapters.decision_proto import decision_headers
from infermesh_router.adapters.inbound.openai_errors import openai_error
from infermesh_router.application.inference_optimizer import InferenceOptimizer, Started
from infermesh_router.domain.cache_control import HEADER, parse_cache_control
from infermesh_router.domain.chat_stream import event
from infermesh_router.domain.decision import Decision
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.request import (
    AUTO,
    CacheControl,
    InferenceRequest,
    JsonObject,
    Surface,
    parse_chat,
    parse_embeddings,
    parse_model,
)

_JSON = "application/json"
_EVENTS = "text/event-stream; charset=utf-8"
Context = grpc.aio.ServicerContext[httpbody_pb2.HttpBody, httpbody_pb2.HttpBody]


class OpenAIServicer(openai_pb2_grpc.OpenAIServiceServicer):
    """HTTP bodies to the use case and back.

    Args:
        optimizer: the use case.
        registry: gives the registry in force.
        max_request_bytes: larger bodies are refused.
    """

    def __init__(
        self,
        optimizer: InferenceOptimizer,
        registry: Callable[[], ModelRegistry],
        *,
        max_request_bytes: int,
    ) -> None:
        self._optimizer = optimizer
        self._registry = registry
        self._max_request_bytes = max_request_bytes

    async def CreateChatCompletion(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """`POST /v1/chat/completions`."""
        call = current()
        body = self._parse(request)
        stream, include_usage = parse_chat(body)
        inference = _inference(call, Surface.CHAT, body, stream, include_usage)
        async with aclosing(self._serve(inference, call, context)) as parts:
            async for part in parts:
                yield part

    async def CreateEmbedding(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """`POST /v1/embeddings`."""
        call = current()
        body = self._parse(request)
        parse_embeddings(body)
        inference = _inference(call, Surface.EMBEDDINGS, body, False, False)
        async with aclosing(self._serve(inference, call, context)) as parts:
            async for part in parts:
                yield part

    async def ListModels(self, request: empty_pb2.Empty, context: Context) -> httpbody_pb2.HttpBody:
        """`GET /v1/models`."""
        registry = self._registry()
        tenant = registry.tenant(_tenant_member(current()).tenant)
        models = [_model_object(model) for model in registry.allowed(tenant)]
        auto = {"id": AUTO, "object": "model", "created": 0, "owned_by": "infermesh"}
        return _json({"object": "list", "data": [auto, *models]})

    async def GetModel(
        self, request: openai_pb2.GetModelRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """`GET /v1/models/{model}`."""
        registry = self._registry()
        tenant = registry.tenant(_tenant_member(current()).tenant)
        return _json(_model_object(registry.resolve(request.model, tenant)))

    async def RefuseLargeBody(
        self, request_iterator: AsyncIterator[httpbody_pb2.HttpBody], context: Context
    ) -> httpbody_pb2.HttpBody:
        """Any path, with a body that is too large."""
        async for _ in request_iterator:
            pass
        raise self._too_large()

    def _too_large(self) -> InvalidArgument:
        return InvalidArgument(
            "REQUEST_TOO_LARGE", f"The body is larger than {self._max_request_bytes} bytes."
        )

    def _parse(self, request: httpbody_pb2.HttpBody) -> JsonObject:
        if len(request.data) > self._max_request_bytes:
            raise self._too_large()
        try:
            body = orjson.loads(request.data)
        except orjson.JSONDecodeError as error:
            raise InvalidArgument(
                "INVALID_JSON", f"The body is not valid JSON: {error.msg}."
            ) from error
        if not isinstance(body, dict):
            raise InvalidArgument("INVALID_JSON", "The body must be a JSON object.")
        return body

    async def _serve(
        self, inference: InferenceRequest, call: RequestContext, context: Context
    ) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
        decision = Decision(call.request_id)
        content_type = _EVENTS if inference.stream else _JSON
        parts = self._optimizer.infer(inference, call.caller(), decision)
        started = False
        async with aclosing(parts):
            try:
                async for part in parts:
                    if isinstance(part, Started):
                        # Only now, after every refusal: metadata sent earlier would turn an
                        # error's metadata into trailers, which an HTTP/1.1 client never sees.
                        await context.send_initial_metadata(decision_headers(decision))
                        started = True
                    else:
                        yield httpbody_pb2.HttpBody(content_type=content_type, data=part)
            except Exception as error:
                if not (started and inference.stream):
                    raise
                mapped = map_error(call, error)
                yield httpbody_pb2.HttpBody(
                    content_type=content_type, data=event(openai_error(mapped))
                )
                raise mapped from error


def _inference(
    call: RequestContext, surface: Surface, body: JsonObject, stream: bool, include_usage: bool
) -> InferenceRequest:
    return InferenceRequest(
        surface=surface,
        body=body,
        model=parse_model(body),
        stream=stream,
        include_usage=include_usage,
        task=task_of(call.metadata),
        tags=_tags(call.metadata),
        cache=_cache_control(call.metadata),
    )


def task_of(metadata: Mapping[str, str]) -> str:
    """The kind of task named in the `x-infermesh-task` header.

    Raises:
        InvalidArgument: INVALID_TASK.
    """
    return check_task(metadata.get("x-infermesh-task", ""))


def check_task(task: str) -> str:
    """`task`, "general" when empty.

    Raises:
        InvalidArgument: INVALID_TASK, it is not a short name.
    """
    if len(task) > 64 or not task.isprintable():
        raise InvalidArgument("INVALID_TASK", "A task is a name of at most 64 characters.")
    return task or "general"


def _tags(metadata: Mapping[str, str]) -> tuple[str, ...]:
    header = metadata.get("x-infermesh-tags", "")
    return tuple(dict.fromkeys(filter(None, (tag.strip() for tag in header.split(",")))))


def _cache_control(metadata: Mapping[str, str]) -> CacheControl:
    header = metadata.get(HEADER)
    return CacheControl() if header is None else parse_cache_control(header)


def _tenant_member(call: RequestContext) -> Identity:
    caller = call.caller()
    if not caller.tenant:
        raise PermissionDenied("TENANT_REQUIRED", "Models are listed for a tenant's API key.")
    return caller


def _model_object(model: Model) -> dict[str, object]:
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": model.spec.provider,
        "capabilities": list(model.spec.capabilities),
        "context_tokens": model.spec.context_tokens,
    }


def _json(value: object) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=_JSON, data=orjson.dumps(value))
