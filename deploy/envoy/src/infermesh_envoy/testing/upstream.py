"""A gRPC server whose methods a test scripts, below the level of the generated stubs.

Requests and responses are the serialised messages, so that one class plays every service. On the
wire a unary RPC is a stream of one message: a behaviour of a unary method yields once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC as it arrived.

    `remaining_s` is the time to its deadline, None without one; `cancelled` is set when the client
    went away before the end.
    """

    method: str
    request: bytes
    metadata: tuple[tuple[str, str | bytes], ...]
    remaining_s: float | None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def values(self, name: str) -> list[str]:
        """Values of a metadata key, in order."""
        return [str(value) for key, value in self.metadata if key == name]


Behaviour: TypeAlias = "Callable[[Call, Context], AsyncIterator[bytes]]"


class ScriptedUpstream(grpc.GenericRpcHandler):
    """Listens on a free loopback port; a method without a script answers UNIMPLEMENTED."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.port = 0
        self._behaviours: dict[str, Behaviour] = {}
        self._streamed: set[str] = set()
        self._server: grpc.aio.Server | None = None

    def script(self, method: str, behaviour: Behaviour, *, streamed_request: bool = False) -> None:
        """Makes `behaviour` answer a method, named like "/package.Service/Method".

        With `streamed_request` it is called when the last message has arrived; `Call.request` is
        then all of them in a row.
        """
        self._behaviours[method] = behaviour
        if streamed_request:
            self._streamed.add(method)

    def reset(self) -> None:
        """Forgets scripts and calls."""
        self._behaviours.clear()
        self.calls.clear()

    async def start(self, port: int = 0) -> None:
        """Listens on `port`, or on a free one."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        options += [("grpc.http2.max_ping_strikes", 0)]
        self._server = grpc.aio.server(handlers=[self], options=options)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()

    async def stop(self) -> None:
        """Ends at once; calls under way are cancelled."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """The handler of a method, as grpc asks for it."""
        method = handler_call_details.method
        behaviour = self._behaviours.get(method)
        if behaviour is None:
            return None

        async def serve(request: bytes, context: Context) -> AsyncIterator[bytes]:
            metadata = tuple((name, value) for name, value in context.invocation_metadata() or ())
            call = Call(method, request, metadata, context.time_remaining())
            self.calls.append(call)
            try:
                async for message in behaviour(call, context):
                    yield message
            except asyncio.CancelledError:
                call.cancelled.set()
                raise

        async def collect(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            whole = b"".join([request async for request in requests])
            async for message in serve(whole, context):
                yield message

        if method in self._streamed:
            return grpc.stream_stream_rpc_method_handler(collect)
        return grpc.unary_stream_rpc_method_handler(serve)
