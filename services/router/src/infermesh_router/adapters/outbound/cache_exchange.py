"""Operations of the cache service over a few long streams.

An RPC costs both sides more than a lookup does; over a stream, what is asked while a message is on
its way goes with the next one.
"""

import asyncio
import itertools
from collections.abc import Sequence

import grpc

from infermesh.cache.v1 import cache_pb2, cache_pb2_grpc
from infermesh_common.background import end_tasks
from infermesh_common.errors import InfermeshError, Unavailable, from_rpc_error, from_status
from infermesh_common.identity.directory import INTERNAL_TOKEN_HEADER

_LONGEST_STREAM_S = 3_600.0


class _Stream:
    """One stream, and the operations under way on it."""

    def __init__(
        self, stub: "cache_pb2_grpc.CacheServiceAsyncStub", metadata: tuple[tuple[str, str], ...]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.opened_at_s = loop.time()
        self.broken = False
        self._call = stub.Exchange(metadata=metadata, timeout=_LONGEST_STREAM_S)
        self._outbox: list[cache_pb2.Operation] = []
        self._under_way: dict[int, asyncio.Future[cache_pb2.Outcome]] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._loop = loop
        self._tasks = [
            loop.create_task(self._write(), name="cache-exchange-writer"),
            loop.create_task(self._read(), name="cache-exchange-reader"),
        ]

    def send(self, operation: cache_pb2.Operation) -> asyncio.Future[cache_pb2.Outcome]:
        """Hands `operation` over; the future has its outcome, or an InfermeshError."""
        outcome: asyncio.Future[cache_pb2.Outcome] = self._loop.create_future()
        self._under_way[operation.id] = outcome
        self._outbox.append(operation)
        self._wake.set()
        return outcome

    def forget(self, number: int) -> None:
        """Nobody waits for that operation any more."""
        self._under_way.pop(number, None)

    def retire(self) -> None:
        """Ends the stream once nothing is under way on it."""
        self._closing = True
        self._wake.set()

    async def close(self) -> None:
        """Ends it now."""
        await end_tasks(self._tasks)
        self._call.cancel()
        self._fail(Unavailable("CACHE_UNAVAILABLE", "The stream to the cache was closed."))

    @property
    def ended(self) -> bool:
        """Whether it is of no further use to anybody."""
        return all(task.done() for task in self._tasks)

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if operations := self._outbox:
                    self._outbox = []
                    await self._call.write(cache_pb2.ExchangeRequest(operations=operations))
                elif self._closing:
                    await self._call.done_writing()
                    return
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The reader learns why.
            self.broken = True

    async def _read(self) -> None:
        error: InfermeshError
        try:
            while isinstance(response := await self._call.read(), cache_pb2.ExchangeResponse):
                self._settle(response.outcomes)
            error = Unavailable("CACHE_UNAVAILABLE", "The cache ended the stream.")
        except grpc.aio.AioRpcError as failure:
            error = from_rpc_error(failure)
        self.broken = True
        self._fail(error)
        self.retire()

    def _settle(self, outcomes: Sequence[cache_pb2.Outcome]) -> None:
        for outcome in outcomes:
            waiting = self._under_way.pop(outcome.id, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(outcome)

    def _fail(self, error: InfermeshError) -> None:
        waiting, self._under_way = self._under_way, {}
        for outcome in waiting.values():
            if not outcome.done():
                outcome.set_exception(error)


class CacheExchange:
    """The streams of one router, used in turn and replaced now and then: a stream stays with one
    replica, and replicas come and go.

    Args:
        channel: channel to the cache service.
        internal_token: proves that a service of the mesh is asking.
        streams: how many at once.
        renew_after_s: a stream is replaced after this time.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        internal_token: str,
        streams: int,
        renew_after_s: float,
    ) -> None:
        self._stub: "cache_pb2_grpc.CacheServiceAsyncStub" = cache_pb2_grpc.CacheServiceStub(
            channel
        )
        self._metadata = ((INTERNAL_TOKEN_HEADER, internal_token),)
        self._renew_after_s = renew_after_s
        self._streams: list[_Stream | None] = [None] * streams
        self._turns = itertools.cycle(range(streams))
        self._numbers = itertools.count(1)
        self._retired: list[_Stream] = []

    async def ask(self, operation: cache_pb2.Operation, timeout_s: float) -> cache_pb2.Outcome:
        """The outcome of `operation`, whose id is given here.

        Raises:
            TimeoutError: none came in time.
            InfermeshError: the operation failed, or the stream did.
        """
        operation.id = next(self._numbers)
        operation.timeout.FromMicroseconds(max(1, int(timeout_s * 1e6)))
        stream = self._stream()
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await stream.send(operation)
        finally:
            stream.forget(operation.id)
        if outcome.HasField("error"):
            raise from_status(outcome.error)
        return outcome

    async def close(self) -> None:
        """Ends all streams."""
        for stream in (*self._streams, *self._retired):
            if stream is not None:
                await stream.close()

    def _stream(self) -> _Stream:
        turn = next(self._turns)
        stream = self._streams[turn]
        if stream is None or stream.broken or self._is_old(stream):
            if stream is not None:
                stream.retire()
                self._retired = [old for old in (*self._retired, stream) if not old.ended]
            stream = self._streams[turn] = _Stream(self._stub, self._metadata)
        return stream

    def _is_old(self, stream: _Stream) -> bool:
        now_s = asyncio.get_running_loop().time()
        return now_s > stream.opened_at_s + self._renew_after_s
