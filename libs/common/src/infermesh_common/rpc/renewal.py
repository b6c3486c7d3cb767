"""A channel whose credentials may change while it is in use."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar, cast
from weakref import WeakSet

import grpc

Q = TypeVar("Q")
R = TypeVar("R")
Serializer = Callable[[Q], bytes]
Deserializer = Callable[[bytes], R]
_LOOK_S = 0.2


class Generation:
    """One of the channels that a renewable one has had, and the calls that began on it.

    Args:
        channel: the channel.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.calls: "WeakSet[grpc.aio.Call]" = WeakSet()

    async def retire(self, longest_s: float) -> None:
        """Closes the channel once its calls have ended, at the latest after `longest_s` or when
        this is cancelled; calls that are left are cancelled."""
        try:
            async with asyncio.timeout(longest_s):
                while any(not call.done() for call in self.calls):
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            pass
        finally:
            await self.channel.close()


class _Method:
    """One method of whichever channel is in use."""

    __slots__ = ("_call", "_channel", "_generation", "_make")

    def __init__(
        self,
        channel: "RenewableChannel",
        make: Callable[[grpc.aio.Channel], Callable[..., grpc.aio.Call]],
    ) -> None:
        self._channel = channel
        self._make = make
        self._generation = channel.generation
        self._call = make(self._generation.channel)

    def __call__(self, *args: object, **kwargs: object) -> grpc.aio.Call:
        generation = self._channel.generation
        if generation is not self._generation:
            self._generation, self._call = generation, self._make(generation.channel)
        call = self._call(*args, **kwargs)
        generation.calls.add(call)
        return call


class RenewableChannel(grpc.aio.Channel):
    """Stands for a channel that can be replaced: calls begin on the one in use at the time, and
    stubs made of this one need not know.

    Args:
        channel: the first one.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.generation = Generation(channel)

    def replace(self, channel: grpc.aio.Channel) -> Generation:
        """Puts `channel` in use; returns what was before, for the caller to retire."""
        before, self.generation = self.generation, Generation(channel)
        return before

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer[Q] | None = None,
        response_deserializer: Deserializer[R] | None = None,
        _registered_method: bool | None = False,
    ) -> "grpc.aio.UnaryUnaryMultiCallable[Q, R]":
        """As the channel's."""
        return cast(
            "grpc.aio.UnaryUnaryMultiCallable[Q, R]",
            _Method(
                self, lambda c: c.unary_unary(method, request_serializer, response_deserializer)
            ),
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer[Q] | None = None,
        response_deserializer: Deserializer[R] | None = None,
        _registered_method: bool | None = False,
    ) -> "grpc.aio.UnaryStreamMultiCallable[Q, R]":
        """As the channel's."""
        return cast(
            "grpc.aio.UnaryStreamMultiCallable[Q, R]",
            _Method(
                self, lambda c: c.unary_stream(method, request_serializer, response_deserializer)
            ),
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer[Q] | None = None,
        response_deserializer: Deserializer[R] | None = None,
        _registered_method: bool | None = False,
    ) -> "grpc.aio.StreamUnaryMultiCallable[Q, R]":
        """As the channel's."""
        return cast(
            "grpc.aio.StreamUnaryMultiCallable[Q, R]",
            _Method(
                self, lambda c: c.stream_unary(method, request_serializer, response_deserializer)
            ),
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer[Q] | None = None,
        response_deserializer: Deserializer[R] | None = None,
        _registered_method: bool | None = False,
    ) -> "grpc.aio.StreamStreamMultiCallable[Q, R]":
        """As the channel's."""
        return cast(
            "grpc.aio.StreamStreamMultiCallable[Q, R]",
            _Method(
                self, lambda c: c.stream_stream(method, request_serializer, response_deserializer)
            ),
        )

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Of the channel in use."""
        return self.generation.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Of the channel in use."""
        await self.generation.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Of the channel in use."""
        await self.generation.channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Closes the channel in use."""
        await self.generation.channel.close(grace)

    async def __aenter__(self) -> "RenewableChannel":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
