"""A bare grpc.aio service with the same contract as the router's: `... PORT FILE`.

Every answer is the content of FILE.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import uvloop
from google.api import httpbody_pb2


class Echo:
    """The one method.

    Args:
        body: of each answer.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def answer(
        self, request: httpbody_pb2.HttpBody, context: object
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """The same answer as ours gives, without a look at the question."""
        yield httpbody_pb2.HttpBody(content_type="application/json", data=self._body)


async def serve(port: int, body: bytes) -> None:
    """Serves until killed."""
    server = grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(
        Echo(body).answer,
        request_deserializer=httpbody_pb2.HttpBody.FromString,
        response_serializer=httpbody_pb2.HttpBody.SerializeToString,
    )
    methods = {"CreateChatCompletion": handler}
    service = grpc.method_handlers_generic_handler("infermesh.router.v1.OpenAIService", methods)
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
