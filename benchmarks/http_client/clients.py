"""HTTP clients of Python, each used as the router would use it: many calls at once, connections
used again, bodies read as bytes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import aiohttp
import httpx2
import urllib3

from benchmarks.target import Target

_TIMEOUT_S = 30.0
_PIECE_BYTES = 65_536


class HttpClient(Protocol):
    """One client. It is made and used inside of one event loop."""

    async def ask(self, body: bytes) -> int:
        """Sends one request. Returns the size of the answer, read to its end.

        Raises:
            RuntimeError: the answer is no success.
        """

    async def close(self) -> None:
        """Closes its connections."""


class Aiohttp:
    """aiohttp, with its parser in C."""

    def __init__(self, target: Target, connections: int) -> None:
        self._target = target
        self._url = _url(target)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def ask(self, body: bytes) -> int:
        """See `HttpClient.ask`."""
        headers = self._target.all_headers
        response = await self._session.post(self._url, data=body, headers=headers)
        _check(response.status)
        size = 0
        while piece := await response.content.readany():
            size += len(piece)
        return size

    async def close(self) -> None:
        """See `HttpClient.close`."""
        await self._session.close()


class Httpx:
    """httpx2, which follows on httpx."""

    def __init__(self, target: Target, connections: int) -> None:
        self._target = target
        self._url = _url(target)
        self._client = httpx2.AsyncClient(
            timeout=_TIMEOUT_S,
            limits=httpx2.Limits(max_keepalive_connections=connections),
            trust_env=False,
        )

    async def ask(self, body: bytes) -> int:
        """See `HttpClient.ask`."""
        size = 0
        async with self._client.stream(
            "POST", self._url, content=body, headers=self._target.all_headers
        ) as response:
            _check(response.status_code)
            async for piece in response.aiter_raw():
                size += len(piece)
        return size

    async def close(self) -> None:
        """See `HttpClient.close`."""
        await self._client.aclose()


class Urllib3InThreads:
    """urllib3, which blocks: each call has a thread for its time."""

    def __init__(self, target: Target, connections: int) -> None:
        self._target = target
        self._url = _url(target)
        self._pool = urllib3.PoolManager(maxsize=connections, timeout=_TIMEOUT_S, retries=False)
        self._threads = ThreadPoolExecutor(connections)

    async def ask(self, body: bytes) -> int:
        """See `HttpClient.ask`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, body)

    def _ask(self, body: bytes) -> int:
        response = self._pool.request(
            "POST",
            self._url,
            body=body,
            headers=self._target.all_headers,
            preload_content=False,
        )
        _check(response.status)
        size = sum(len(piece) for piece in response.stream(_PIECE_BYTES))
        response.release_conn()
        return size

    async def close(self) -> None:
        """See `HttpClient.close`."""
        self._threads.shutdown()
        self._pool.clear()


CLIENTS: dict[str, Callable[[Target, int], HttpClient]] = {
    "aiohttp": Aiohttp,
    "httpx2": Httpx,
    "urllib3_threads": Urllib3InThreads,
}
"""By the name in the figures."""


def _url(target: Target) -> str:
    return f"http://127.0.0.1:{target.port}{target.path}"


def _check(status: int) -> None:
    if status != 200:
        raise RuntimeError(f"answered with status {status}")
