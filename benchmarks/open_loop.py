"""Load at a fixed rate: a request is sent when it is due, whether or not others are answered.

So a slow answer delays no later request, and no latency is hidden by one (Tene, "How NOT to
measure latency"); with a fixed number of connections, as wrk has, it would be. A latency counts
from the sending; how late the sending itself was, when this process got no core, is told beside it.
"""

import asyncio
import gc
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import httptools
import uvloop

from benchmarks.load import LoadError
from benchmarks.target import QUESTION, Target

_CONNECTIONS_AT_START = 32
_MOST_CONNECTIONS = 1024
_LAST_ANSWERS_S = 10.0


@dataclass(frozen=True)
class Latencies:
    """One round; every request was answered with success.

    Attributes:
        sorted_ms: latencies in milliseconds, ascending.
        late_ms: how long after they were due requests were sent, in milliseconds, ascending; of
            the load generator's own making.
        received: bytes of the answers, with headers.
    """

    sorted_ms: Sequence[float]
    late_ms: Sequence[float]
    received: int

    @property
    def completed(self) -> int:
        """Requests that were answered."""
        return len(self.sorted_ms)

    @property
    def p50_ms(self) -> float:
        """Median latency."""
        return percentile(self.sorted_ms, 50)

    @property
    def p99_ms(self) -> float:
        """99th percentile of the latencies."""
        return percentile(self.sorted_ms, 99)


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed (nearest rank)."""
    rank = math.ceil(len(ascending) * percent / 100)
    return ascending[max(0, rank - 1)]


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with at most one request on it.

    Args:
        free: is told when the connection has its answer.
        answered: is told the latency in seconds.
        failed: is told a sentence.
    """

    def __init__(
        self,
        free: Callable[["Connection"], None],
        answered: Callable[[float, int], None],
        failed: Callable[[str], None],
    ) -> None:
        self._free, self._answered, self._failed = free, answered, failed
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at = 0.0
        self._received = 0
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way to send."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def send(self, request: bytes) -> None:
        """Sends the next request."""
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._received = 0
        self._transport.write(request)

    def close(self) -> None:
        """Ends it."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Parses; `on_message_complete` is called at the end of an answer."""
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._failed(f"an answer that is not HTTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        """A failure unless we closed it."""
        if not self._closing:
            self._failed(f"a connection was closed: {error}")

    def on_message_complete(self) -> None:
        """One answer is there."""
        status = self._parser.get_status_code()
        if status != 200:
            self._failed(f"status {status}")
        self._answered(time.perf_counter() - self._sent_at, self._received)
        self._free(self)


class _Run:
    """One round."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._free: deque[Connection] = deque()
        self._all: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._received = 0
        self._faults: list[str] = []
        headers = {"host": f"127.0.0.1:{target.port}", **target.all_headers}
        lines = [f"POST {target.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        self._head = "\r\n".join([*lines, "content-length: "]).encode()

    async def go(self, rate: float, seconds: float, seed: int | None) -> Latencies:
        for _ in range(_CONNECTIONS_AT_START):
            self._free.append(await self._open())
        total = round(rate * seconds)
        sent = 0
        begin = time.perf_counter()
        while sent < total and not self._faults:
            now = time.perf_counter()
            while sent < total and (due := begin + sent / rate) <= now:
                self._late.append(now - due)
                self._send(self._request(sent, seed))
                sent += 1
            await asyncio.sleep(max(0.0, begin + sent / rate - time.perf_counter()))
        await self._last_answers(total)
        for connection in self._all:
            connection.close()
        if self._faults or len(self._latencies) < total:
            fault = self._faults[0] if self._faults else "answers are missing"
            raise LoadError(f"at {rate:.0f} a second, {len(self._latencies)} of {total}: {fault}")
        return Latencies(
            sorted(1000 * latency for latency in self._latencies),
            sorted(1000 * late for late in self._late),
            self._received,
        )

    async def _last_answers(self, total: int) -> None:
        deadline = time.perf_counter() + _LAST_ANSWERS_S
        while len(self._latencies) < total and not self._faults:
            if time.perf_counter() > deadline:
                return
            await asyncio.sleep(0.01)

    def _request(self, number: int, seed: int | None) -> bytes:
        question = QUESTION if seed is None else f"{QUESTION} {seed}-{number}"
        body = self._target.body(question)
        return b"%s%d\r\n\r\n%s" % (self._head, len(body), body)

    def _send(self, request: bytes) -> None:
        if self._free:
            self._free.pop().send(request)
        elif len(self._all) + len(self._opening) < _MOST_CONNECTIONS:
            task = asyncio.get_running_loop().create_task(self._open_and_send(request))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._faults.append(f"{_MOST_CONNECTIONS} requests wait for their answers")

    async def _open_and_send(self, request: bytes) -> None:
        try:
            connection = await self._open()
        except OSError as error:
            self._faults.append(f"no connection: {error}")
            return
        connection.send(request)

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._free.append, self._answered, self._faults.append),
            "127.0.0.1",
            self._target.port,
        )
        self._all.append(connection)
        return connection

    def _answered(self, latency_s: float, received: int) -> None:
        self._latencies.append(latency_s)
        self._received += received


async def at_rate(
    target: Target, *, rate: float, seconds: float, unique: bool, seed: int
) -> Latencies:
    """One round of chat completions at a fixed rate, evenly spaced, on the running loop.

    Args:
        target: is asked.
        rate: requests a second.
        seconds: length of the round.
        unique: ask something new each time, so that nothing can be cached.
        seed: makes the unique questions of this round differ from those of others.

    Raises:
        LoadError: a request failed, or more than 1,024 were unanswered at a time.
    """
    try:
        return await _Run(target).go(rate, seconds, seed if unique else None)
    except OSError as error:
        raise LoadError(f"no connection: {error}") from error


def drive(target: Target, *, rate: float, seconds: float, unique: bool, seed: int) -> Latencies:
    """As `at_rate`, on a loop of its own."""
    # A collection in this process would be seen as latency of the target.
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(at_rate(target, rate=rate, seconds=seconds, unique=unique, seed=seed))
    finally:
        gc.enable()
