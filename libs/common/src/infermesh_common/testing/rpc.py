"""A gRPC service for tests of what happens around an RPC: four methods, one an arity, and one
script that all of them follow."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from infermesh_common.context import RequestContext
from infermesh_common.rpc.pipeline import ServerPipeline
from infermesh_common.testing.servers import eventually

SERVICE = "infermesh.test.v1.ScriptedService"
ARITIES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
METHODS = {arity: f"/{SERVICE}/{arity}" for arity in ARITIES}

Metadata = Sequence[tuple[str, str | bytes]]
Script = Callable[[str], AsyncGenerator[str, None]]
_Context = grpc.aio.ServicerContext[StringValue, StringValue]
Call = (
    grpc.aio.UnaryUnaryCall[StringValue, StringValue]
    | grpc.aio.UnaryStreamCall[StringValue, StringValue]
    | grpc.aio.StreamUnaryCall[StringValue, StringValue]
    | grpc.aio.StreamStreamCall[StringValue, StringValue]
)


async def echo(text: str) -> AsyncGenerator[str, None]:
    """The script of the beginning: the request as it came."""
    yield text


class ScriptedService:
    """Answers as `script` says.

    Attributes:
        script: gets the text of the request (of all requests, joined) and yields those of the
            responses; a method with a single response sends the last one.
    """

    def __init__(self, script: Script = echo) -> None:
        self.script = script

    async def unary_unary(self, request: StringValue, context: _Context) -> StringValue:
        """One request, one response."""
        return await self._last(request.value)

    async def unary_stream(
        self, request: StringValue, context: _Context
    ) -> AsyncIterator[StringValue]:
        """One request, a stream of responses."""
        async with aclosing(self.script(request.value)) as answers:
            async for answer in answers:
                yield StringValue(value=answer)

    async def stream_unary(
        self, requests: AsyncIterator[StringValue], context: _Context
    ) -> StringValue:
        """A stream of requests, one response."""
        return await self._last("".join([request.value async for request in requests]))

    async def stream_stream(
        self, requests: AsyncIterator[StringValue], context: _Context
    ) -> AsyncIterator[StringValue]:
        """A stream of requests, a stream of responses."""
        text = "".join([request.value async for request in requests])
        async with aclosing(self.script(text)) as answers:
            async for answer in answers:
                yield StringValue(value=answer)

    async def _last(self, text: str) -> StringValue:
        last = ""
        async with aclosing(self.script(text)) as answers:
            async for answer in answers:
                last = answer
        return StringValue(value=last)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the four methods."""
        handlers = {
            arity: getattr(grpc, f"{arity}_rpc_method_handler")(
                getattr(self, arity),
                request_deserializer=StringValue.FromString,
                response_serializer=StringValue.SerializeToString,
            )
            for arity in ARITIES
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class ScriptedClient:
    """Calls a `ScriptedService`; each method sends one request."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stubs = {
            arity: getattr(channel, arity)(
                METHODS[arity],
                request_serializer=StringValue.SerializeToString,
                response_deserializer=StringValue.FromString,
            )
            for arity in ARITIES
        }

    def start(
        self, arity: str, text: str = "", *, metadata: Metadata = (), timeout_s: float | None = 20
    ) -> Call:
        """A call under way."""

        async def requests() -> AsyncIterator[StringValue]:
            yield StringValue(value=text)

        argument = requests() if arity.startswith("stream") else StringValue(value=text)
        call: Call = self._stubs[arity](argument, metadata=metadata, timeout=timeout_s)
        return call

    async def answers(
        self, arity: str, text: str = "", *, metadata: Metadata = (), timeout_s: float | None = 20
    ) -> list[str]:
        """All responses.

        Raises:
            grpc.aio.AioRpcError: the call failed.
        """
        call = self.start(arity, text, metadata=metadata, timeout_s=timeout_s)
        if isinstance(call, grpc.aio.UnaryStreamCall | grpc.aio.StreamStreamCall):
            return [response.value async for response in call]
        return [(await call).value]


class RecordingObserver:
    """An `Observer` that keeps what it sees.

    Attributes:
        begun: calls that began, oldest first.
        ended_with: status codes of calls that ended, in the order in which they did.
    """

    def __init__(self) -> None:
        self.begun: list[RequestContext] = []
        self.ended_with: list[str] = []

    def began(self, call: RequestContext) -> None:
        """Keeps the call."""
        self.begun.append(call)

    def ended(self, call: RequestContext, code: str) -> None:
        """Keeps the code."""
        self.ended_with.append(code)


@asynccontextmanager
async def scripted_server(
    service: ScriptedService, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
) -> AsyncIterator[str]:
    """A server of `service` on a free loopback port; gives its target.

    Calls have ended, for observers too, when it is gone.
    """
    server = grpc.aio.server(interceptors=list(interceptors))
    service.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
        pipelines = [around for around in interceptors if isinstance(around, ServerPipeline)]
        await eventually(lambda: not any(around.under_way for around in pipelines))


@asynccontextmanager
async def scripted_client(target: str) -> AsyncIterator[ScriptedClient]:
    """A client with a plain channel of its own, without retries."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield ScriptedClient(channel)
