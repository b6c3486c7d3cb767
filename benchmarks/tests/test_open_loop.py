import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.load import LoadError
from benchmarks.open_loop import at_rate, percentile
from benchmarks.target import Target

Answer = Callable[[bytes], Awaitable[bytes]]
FINE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[Target]:
    """Answers each request with what `answer` makes of its body."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                writer.write(await answer(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield Target(listening.sockets[0].getsockname()[1], "fixed")


@pytest.mark.parametrize("response", [FINE, CHUNKED])
async def test_every_request_is_answered_once_and_is_new(response: bytes) -> None:
    bodies: list[bytes] = []

    async def answer(body: bytes) -> bytes:
        bodies.append(body)
        return response

    async with server(answer) as target:
        done = await at_rate(target, rate=400, seconds=0.25, unique=True, seed=3)
    assert done.completed == len(bodies) == len(set(bodies)) == 100
    assert done.received == 100 * len(response)
    assert 0 < done.p50_ms <= done.p99_ms


async def test_slow_answers_do_not_delay_later_requests() -> None:
    waiting = 0
    all_sent = asyncio.Event()

    async def answer(body: bytes) -> bytes:
        nonlocal waiting
        waiting += 1
        if waiting == 100:
            all_sent.set()
        # No answer before the last request: a closed loop of fewer connections would never end.
        await all_sent.wait()
        return FINE

    async with server(answer) as target:
        done = await at_rate(target, rate=400, seconds=0.25, unique=False, seed=0)
    assert done.completed == 100
    assert done.sorted_ms[-1] > done.sorted_ms[0]


async def test_an_answer_without_success_fails_the_round() -> None:
    async def answer(body: bytes) -> bytes:
        return b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n"

    async with server(answer) as target:
        with pytest.raises(LoadError, match="status 503"):
            await at_rate(target, rate=100, seconds=0.1, unique=False, seed=0)


async def test_a_connection_that_is_refused_fails_the_round() -> None:
    async def answer(body: bytes) -> bytes:
        return FINE

    async with server(answer) as target:
        pass
    with pytest.raises(LoadError, match="no connection"):
        await at_rate(target, rate=100, seconds=0.1, unique=False, seed=0)


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0.5, 1)])
def test_percentiles_are_nearest_ranks(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], percent) == value
