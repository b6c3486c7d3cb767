"""An answer as it is produced."""

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from infermesh.errors import InfermeshError, InternalError, InvalidRequestError
from infermesh.inference import InferResult
from infermesh.router.v1 import inference_pb2
from infermesh.wire.responses import infer_result
from infermesh.wire.status import error_from_rpc

if TYPE_CHECKING:
    from grpc import _CallIterator
    from grpc.aio import UnaryStreamCall


class _Ending:
    """Keeps the end of a stream: its result, or that it was given up."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.closed = False
        self._result: InferResult | None = None

    def piece(self, event: inference_pb2.InferStreamResponse) -> str:
        """Text of an event; empty for the last one, whose result is kept."""
        if event.HasField("completed"):
            self._result = infer_result(event.completed)
        return event.content_delta

    def check_complete(self) -> None:
        """Raises InternalError (STREAM_INCOMPLETE) when the stream ended without its result."""
        if self._result is None:
            raise InternalError(
                "The answer ended before it was complete.",
                reason="STREAM_INCOMPLETE",
                request_id=self.request_id,
            )

    def result(self) -> InferResult:
        """Raises InvalidRequestError (STREAM_NOT_FINISHED) when there is none."""
        if self._result is None:
            raise InvalidRequestError(
                "The result of a stream is there when the stream has been read to its end.",
                reason="STREAM_NOT_FINISHED",
                request_id=self.request_id,
            )
        return self._result

    def error(self, error: grpc.RpcError) -> InfermeshError:
        """The typed error of a stream that broke."""
        return error_from_rpc(error, self.request_id)


class InferStream:
    """Iterator of the pieces of an answer's text. Made by `Client.infer_stream`.

    Iterating raises a typed error when the stream breaks, also in the middle: an iteration that
    ends without one had the whole answer. Leave it by `close`, or use it in a `with` block, when
    it is not read to its end; otherwise the mesh goes on until the deadline.
    """

    def __init__(
        self, call: "_CallIterator[inference_pb2.InferStreamResponse]", request_id: str
    ) -> None:
        self._call = call
        self._end = _Ending(request_id)

    @property
    def request_id(self) -> str:
        """What to quote when reporting a problem."""
        return self._end.request_id

    @property
    def result(self) -> InferResult:
        """The whole answer, once the stream has been read to its end.

        Raises:
            InvalidRequestError: STREAM_NOT_FINISHED.
        """
        return self._end.result()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._end.closed:
            raise StopIteration
        try:
            for event in self._call:
                if piece := self._end.piece(event):
                    return piece
        except grpc.RpcError as error:
            raise self._end.error(error) from error
        self._end.check_complete()
        raise StopIteration

    def close(self) -> None:
        """Gives the rest up. Does nothing when the stream has ended."""
        self._end.closed = True
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncInferStream:
    """`InferStream` for asyncio. Made by `AsyncClient.infer_stream`."""

    def __init__(
        self,
        call: (
            "UnaryStreamCall[inference_pb2.InferStreamRequest, inference_pb2.InferStreamResponse]"
        ),
        request_id: str,
    ) -> None:
        self._call = call
        self._events = aiter(call)
        self._end = _Ending(request_id)

    @property
    def request_id(self) -> str:
        """What to quote when reporting a problem."""
        return self._end.request_id

    @property
    def result(self) -> InferResult:
        """The whole answer, once the stream has been read to its end.

        Raises:
            InvalidRequestError: STREAM_NOT_FINISHED.
        """
        return self._end.result()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self._end.closed:
            raise StopAsyncIteration
        try:
            async for event in self._events:
                if piece := self._end.piece(event):
                    return piece
        except grpc.RpcError as error:
            raise self._end.error(error) from error
        self._end.check_complete()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Gives the rest up. Does nothing when the stream has ended."""
        self._end.closed = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
