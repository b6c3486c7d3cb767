"""The OpenAI wire."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import orjson
from google.api import httpbody_pb2
from google.protobuf import empty_pb2

from infermesh.router.v1 import openai_pb2, openai_pb2_grpc
from infermesh_common.context import RequestContext, current
from infermesh_common.errors import PermissionDenied
from infermesh_common.identity.model import Identity
from infermesh_common.resources.types import Model
from infermesh_router.adapters.inbound.http_bodies import JSON, Context, HttpBodies
from infermesh_router.domain.registry import ModelRegistry
from infermesh_router.domain.request import AUTO
from infermesh_router.domain.surfaces.completions import CompletionsWire
from infermesh_router.domain.surfaces.openai import ChatWire, EmbeddingsWire
from infermesh_router.domain.surfaces.responses.wire import ResponsesWire

_CHAT, _EMBEDDINGS = ChatWire(), EmbeddingsWire()
_COMPLETIONS, _RESPONSES = CompletionsWire(), ResponsesWire()


class OpenAIServicer(openai_pb2_grpc.OpenAIServiceServicer):
    """Serves OpenAI's paths.

    Args:
        bodies: the use case behind HTTP bodies.
        registry: gives the registry in force.
    """

    def __init__(self, bodies: HttpBodies, registry: Callable[[], ModelRegistry]) -> None:
        self._bodies = bodies
        self._registry = registry

    async def CreateChatCompletion(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """`POST /v1/chat/completions`."""
        async with aclosing(self._bodies.serve(_CHAT, request, current(), context)) as parts:
            async for part in parts:
                yield part

    async def CreateEmbedding(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """`POST /v1/embeddings`."""
        async with aclosing(self._bodies.serve(_EMBEDDINGS, request, current(), context)) as parts:
            async for part in parts:
                yield part

    async def CreateCompletion(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """`POST /v1/completions`."""
        async with aclosing(self._bodies.serve(_COMPLETIONS, request, current(), context)) as parts:
            async for part in parts:
                yield part

    async def CreateResponse(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """`POST /v1/responses`."""
        async with aclosing(self._bodies.serve(_RESPONSES, request, current(), context)) as parts:
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
        raise self._bodies.too_large()


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
    return httpbody_pb2.HttpBody(content_type=JSON, data=orjson.dumps(value))
