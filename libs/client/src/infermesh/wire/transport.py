"""One channel and the calls on it: the deadline, the metadata and the error of every call."""

import uuid
from typing import TYPE_CHECKING, TypeVar

import grpc

from infermesh.errors import InvalidRequestError
from infermesh.router.v1 import inference_pb2
from infermesh.settings import ConnectionSettings, checked_timeout
from infermesh.streams import AsyncInferStream, InferStream
from infermesh.wire.channel import Metadata, channel_options, credentials, metadata
from infermesh.wire.status import error_from_rpc

if TYPE_CHECKING:
    from grpc import aio

Request = TypeVar("Request")
Response = TypeVar("Response")


class _Calls:
    """What the two transports share.

    Args:
        settings: the connection.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._credentials = credentials(settings)
        self._options = channel_options(settings)
        self._closed = False

    @property
    def address(self) -> str:
        """host:port."""
        return self._settings.target

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidRequestError("The client has been closed.", reason="CLIENT_CLOSED")

    def _deadline(self, timeout_s: float | None) -> float:
        self._check_open()
        return self._settings.timeout_s if timeout_s is None else checked_timeout(timeout_s)

    def _metadata(self, request_id: str) -> Metadata:
        return metadata(self._settings, request_id)


class Transport(_Calls):
    """Blocking calls on one channel.

    Args:
        settings: the connection.

    Raises:
        InvalidRequestError: the root certificates cannot be read.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        super().__init__(settings)
        self.channel = (
            grpc.insecure_channel(settings.target, self._options)
            if self._credentials is None
            else grpc.secure_channel(settings.target, self._credentials, self._options)
        )

    def call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout_s: float | None,
        request_id: str = "",
    ) -> Response:
        """Makes one call.

        Args:
            method: of a stub on `channel`.
            request: its message.
            timeout_s: None: the client's.
            request_id: empty: a new one.

        Raises:
            InfermeshError: it failed.
        """
        chosen, deadline = request_id or str(uuid.uuid4()), self._deadline(timeout_s)
        try:
            return method(request, timeout=deadline, metadata=self._metadata(chosen))
        except grpc.RpcError as error:
            raise error_from_rpc(error, chosen) from error

    def stream(
        self,
        method: (
            "grpc.UnaryStreamMultiCallable["
            "inference_pb2.InferStreamRequest, inference_pb2.InferStreamResponse]"
        ),
        request: inference_pb2.InferRequest,
        timeout_s: float | None,
    ) -> InferStream:
        """Starts a streamed inference; its errors come while it is read."""
        call = method(
            inference_pb2.InferStreamRequest(request=request),
            timeout=self._deadline(timeout_s),
            metadata=self._metadata(request.request_id),
        )
        return InferStream(call, request.request_id)

    def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        self._closed = True
        self.channel.close()


class AsyncTransport(_Calls):
    """`Transport` for asyncio. The channel belongs to the loop that makes the first call.

    Args:
        settings: the connection.

    Raises:
        InvalidRequestError: the root certificates cannot be read.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        super().__init__(settings)
        self._channel: aio.Channel | None = None

    @property
    def channel(self) -> "aio.Channel":
        """The channel, made at its first use: it needs a running loop."""
        self._check_open()
        if self._channel is None:
            target = self._settings.target
            self._channel = (
                grpc.aio.insecure_channel(target, self._options)
                if self._credentials is None
                else grpc.aio.secure_channel(target, self._credentials, self._options)
            )
        return self._channel

    async def call(
        self,
        method: "aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout_s: float | None,
        request_id: str = "",
    ) -> Response:
        """As `Transport.call`."""
        chosen, deadline = request_id or str(uuid.uuid4()), self._deadline(timeout_s)
        try:
            return await method(request, timeout=deadline, metadata=self._metadata(chosen))
        except grpc.RpcError as error:
            raise error_from_rpc(error, chosen) from error

    def stream(
        self,
        method: (
            "aio.UnaryStreamMultiCallable["
            "inference_pb2.InferStreamRequest, inference_pb2.InferStreamResponse]"
        ),
        request: inference_pb2.InferRequest,
        timeout_s: float | None,
    ) -> AsyncInferStream:
        """As `Transport.stream`."""
        call = method(
            inference_pb2.InferStreamRequest(request=request),
            timeout=self._deadline(timeout_s),
            metadata=self._metadata(request.request_id),
        )
        return AsyncInferStream(call, request.request_id)

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()
