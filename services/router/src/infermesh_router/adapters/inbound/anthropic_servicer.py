"""Anthropic's wire."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from google.api import httpbody_pb2

from infermesh.router.v1 import anthropic_pb2_grpc
from infermesh_common.context import current
from infermesh_router.adapters.inbound.http_bodies import Context, HttpBodies
from infermesh_router.domain.surfaces.anthropic.wire import MessagesWire

_MESSAGES = MessagesWire()


class AnthropicServicer(anthropic_pb2_grpc.AnthropicServiceServicer):
    """Serves Anthropic's paths.

    Args:
        bodies: the use case behind HTTP bodies.
    """

    def __init__(self, bodies: HttpBodies) -> None:
        self._bodies = bodies

    async def CreateMessage(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """`POST /v1/messages`."""
        async with aclosing(self._bodies.serve(_MESSAGES, request, current(), context)) as parts:
            async for part in parts:
                yield part

    async def RefuseLargeMessage(
        self, request_iterator: AsyncIterator[httpbody_pb2.HttpBody], context: Context
    ) -> httpbody_pb2.HttpBody:
        """`POST /v1/messages`, with a body that is too large."""
        async for _ in request_iterator:
            pass
        raise self._bodies.too_large()
