"""HTTP to one provider: connections that are used again, and what stays the same in each call."""

import asyncio
import functools
import urllib.parse
import urllib.request
from collections.abc import Mapping

import aiohttp
from yarl import URL

from infermesh_common.resources.types import ProviderSpec
from infermesh_router.adapters.outbound.providers.dialect import Call

FAILURES = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError)
"""What a call raises when the other side, or the way there, fails."""

NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Those of them after which the provider has certainly not got the request."""

CUT_OFF = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
"""The connection ended before anything came back, as one does that has been idle for too long."""

_LONGEST_ERROR_BODY_BYTES = 65_536
_LONGEST_WAIT_FOR_ERROR_BODY_S = 2.0
# After the last event of a stream, the end of the response is mostly in the same packet.
_LONGEST_WAIT_FOR_END_S = 0.05
_KEEP_ALIVE_S = 60
_PREPARED_URLS = 512

Response = aiohttp.ClientResponse


class TooLarge(Exception):
    """An answer is larger than the limit."""


class ProviderHttp:
    """Connections to one provider.

    Args:
        spec: of the Provider resource.
    """

    def __init__(self, spec: ProviderSpec) -> None:
        self._base_url = spec.base_url
        self._query = spec.query
        self._headers = {"content-type": "application/json", **spec.headers}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=spec.timeouts.connect_ms / 1000, sock_read=None
            ),
            # One that a provider sets would be sent with the requests of every tenant.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            # It would read ~/.netrc at each call; proxies are looked up once, below.
            trust_env=False,
            raise_for_status=False,
        )
        self._proxy = _proxy_for(spec.base_url)
        # Making one takes as long as half of the rest of a call; there are as many as models.
        self._prepared = functools.lru_cache(_PREPARED_URLS)(self._url)

    def url(self, call: Call) -> str:
        """Where `call` goes, query included."""
        return self._prepared(call.path, tuple(call.query.items()))[1]

    async def post(self, call: Call, proof: Mapping[str, str]) -> Response:
        """The response to `call`, its body unread.

        Args:
            proof: headers that prove who calls.

        Raises:
            FAILURES: there is none.
        """
        return await self._session.post(
            self._prepared(call.path, tuple(call.query.items()))[0],
            data=call.body,
            headers={**self._headers, **call.headers, **proof},
            allow_redirects=False,
            proxy=self._proxy,
        )

    async def close(self) -> None:
        """Closes every connection; calls under way fail."""
        await self._session.close()

    def _url(self, path: str, query: tuple[tuple[str, str], ...]) -> tuple[URL, str]:
        url = URL(self._base_url + path, encoded=True).update_query({**self._query, **dict(query)})
        return url, str(url)


async def next_piece(response: Response) -> bytes:
    """What comes next of a body; nothing at its end.

    Raises:
        FAILURES: it broke off.
    """
    try:
        return await response.content.readany()
    except RuntimeError as error:
        # What aiohttp says of a connection that it has closed itself, as after a chunk of no size.
        raise aiohttp.ClientPayloadError(str(error)) from error


async def read_whole(response: Response, limit_bytes: int) -> bytes:
    """The whole body; its connection is free for the next call.

    Raises:
        TooLarge: it is larger than the limit.
        FAILURES: it broke off.
    """
    try:
        pieces: list[bytes] = []
        size = 0
        while piece := await next_piece(response):
            size += len(piece)
            if size > limit_bytes:
                raise TooLarge
            pieces.append(piece)
        # One piece, as most are, is not copied.
        return b"".join(pieces)
    finally:
        # Nothing when the body was read to its end.
        response.close()


async def read_error(response: Response) -> bytes:
    """The body of a refusal, or as much of it as comes soon: the status has said the most."""
    data = bytearray()
    try:
        async with asyncio.timeout(_LONGEST_WAIT_FOR_ERROR_BODY_S):
            while len(data) < _LONGEST_ERROR_BODY_BYTES:
                if not (piece := await next_piece(response)):
                    break
                data += piece
    except (TimeoutError, *FAILURES):
        return bytes(data)
    finally:
        response.close()
    return bytes(data)


def finish(response: Response) -> None:
    """Ends a stream of which the last event has been read. Its connection can be used again if
    the response ends as well, for which nobody waits: it is closed if that takes long."""
    if not response.closed:
        loop = asyncio.get_running_loop()
        loop.call_later(_LONGEST_WAIT_FOR_END_S, response.close)


def _proxy_for(base_url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY ask for."""
    parts = urllib.parse.urlsplit(base_url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
