"""One provider over HTTP, whatever its protocol: connections, time-outs, bounds, keys."""

import asyncio
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
from anyio import CapacityLimiter, WouldBlock
from yarl import URL

from infermesh_common.context import time_budget_s
from infermesh_common.errors import DeadlineExceeded, InfermeshError, Unavailable
from infermesh_common.resilience import Dependency
from infermesh_common.resources.types import Model, Provider, ProviderSpec
from infermesh_common.settings import SettingsError, read_secret
from infermesh_common.telemetry.tracing import Tracing
from infermesh_router.adapters.outbound.providers.dialect import Call, Dialect
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import JsonObject, Surface
from infermesh_router.domain.sse import EventTooLarge

_LONGEST_ERROR_BODY_BYTES = 65_536
_FAILURES = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError)


class ProviderEndpoint:
    """One Provider resource.

    Args:
        provider: the resource.
        dialect: its protocol.
        dependency: its breaker.
        tracing: a span a call.
        max_response_bytes: larger answers are refused.
    """

    def __init__(
        self,
        provider: Provider,
        dialect: Dialect,
        dependency: Dependency,
        tracing: Tracing,
        *,
        max_response_bytes: int,
    ) -> None:
        self.provider = provider
        self._spec: ProviderSpec = provider.spec
        self._dialect = dialect
        self._dependency = dependency
        self._tracing = tracing
        self._max_response_bytes = max_response_bytes
        self._limiter = CapacityLimiter(self._spec.max_concurrent)
        self._idle: asyncio.Event | None = None
        timeouts = self._spec.timeouts
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=timeouts.connect_ms / 1000, sock_read=None
            ),
            auto_decompress=True,
            # It would read ~/.netrc at each call; proxies are looked up once, below.
            trust_env=False,
            raise_for_status=False,
        )
        self._proxy = _proxy_for(self._spec.base_url)

    async def close(self) -> None:
        """Closes its connections; calls under way fail."""
        await self._session.close()

    async def close_when_idle(self) -> None:
        """Lets calls under way end, then closes: for a provider whose resource has changed."""
        if self._limiter.borrowed_tokens:
            self._idle = asyncio.Event()
            await self._idle.wait()
        await self.close()

    async def complete(self, model: Model, surface: Surface, body: JsonObject) -> Answer:
        """See `ModelProvider.complete`."""
        async with self._slot():
            with self._span(model, surface):
                return await self._dependency.call(
                    lambda: self._fetch(model, surface, body),
                    timeout_ms=self._spec.timeouts.total_ms,
                    failures=_FAILURES,
                )

    async def _fetch(self, model: Model, surface: Surface, body: JsonObject) -> Answer:
        response = await self._open(model, surface, body, stream=False)
        async with response:
            data = bytearray()
            async for piece in response.content.iter_any():
                data += piece
                if len(data) > self._max_response_bytes:
                    raise self._failed("PROVIDER_ANSWER_TOO_LARGE", "sent too large an answer")
            return self._dialect.answer(surface, body, bytes(data))

    async def stream(
        self, model: Model, surface: Surface, body: JsonObject
    ) -> AsyncGenerator[list[Chunk], None]:
        """See `ModelProvider.stream`."""
        timeouts = self._spec.timeouts
        ends_at = time.monotonic() + time_budget_s(timeouts.total_ms)
        async with self._slot():
            with self._span(model, surface):
                response = await self._dependency.call(
                    lambda: self._open(model, surface, body, stream=True),
                    timeout_ms=timeouts.first_token_ms,
                    failures=_FAILURES,
                )
                try:
                    answer = self._dialect.stream(body, self._max_response_bytes)
                    limit_s = timeouts.first_token_ms / 1000
                    while not answer.ended:
                        piece = await self._read(response, limit_s, ends_at)
                        if not piece:
                            raise self._failed(
                                "PROVIDER_STREAM_BROKEN", "ended its stream before the answer did"
                            )
                        if chunks := answer.feed(piece):
                            yield chunks
                            limit_s = timeouts.between_tokens_ms / 1000
                except EventTooLarge as error:
                    raise self._failed(
                        "PROVIDER_ANSWER_TOO_LARGE", "sent too large an event"
                    ) from error
                finally:
                    # Not released: what is unread is not worth waiting for, and closing tells the
                    # provider to stop.
                    response.close()

    async def _read(
        self, response: aiohttp.ClientResponse, limit_s: float, ends_at: float
    ) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            DeadlineExceeded: PROVIDER_TIMEOUT.
            Unavailable: PROVIDER_STREAM_BROKEN.
        """
        try:
            async with asyncio.timeout(min(limit_s, ends_at - time.monotonic())):
                return await response.content.readany()
        except TimeoutError as error:
            raise DeadlineExceeded(
                "PROVIDER_TIMEOUT", f"The provider {self.provider.name} took too long."
            ) from error
        except _FAILURES as error:
            raise self._failed("PROVIDER_STREAM_BROKEN", "broke its stream off") from error

    async def _open(
        self, model: Model, surface: Surface, body: JsonObject, *, stream: bool
    ) -> aiohttp.ClientResponse:
        """The response, once its status is known to be good."""
        call = self._dialect.call(model, surface, body, stream=stream)
        url = URL(self._spec.base_url + call.path, encoded=True)
        url = url.update_query({**self._spec.query, **call.query})
        response = await self._session.post(
            url,
            data=call.body,
            headers=self._headers(str(url), call),
            allow_redirects=False,
            proxy=self._proxy,
        )
        if response.status < 300:
            return response
        async with response:
            text = await response.content.read(_LONGEST_ERROR_BODY_BYTES)
            raise self._dialect.error(self.provider.name, response.status, response.headers, text)

    def _headers(self, url: str, call: Call) -> dict[str, str]:
        headers = {"content-type": "application/json", **self._spec.headers, **call.headers}
        if self._spec.auth is None:
            return headers
        try:
            # Read anew each time, so that a rotated secret needs no restart.
            secret = read_secret(Path(self._spec.auth.file))
        except SettingsError as error:
            raise self._failed("PROVIDER_KEY_MISSING", "has no readable key") from error
        return {**headers, **self._dialect.headers(self._spec, url, call, secret)}

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """One of the calls that may be under way at once."""
        borrower = object()
        try:
            self._limiter.acquire_on_behalf_of_nowait(borrower)
        except WouldBlock as error:
            raise self._failed("PROVIDER_OVERLOADED", "has too many calls under way") from error
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(borrower)
            if self._idle is not None and not self._limiter.borrowed_tokens:
                self._idle.set()

    def _span(self, model: Model, surface: Surface) -> AbstractContextManager[object]:
        """Names as in OpenTelemetry's GenAI semantic conventions."""
        operation = surface.value.rpartition(".")[2]
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": model.spec.upstream_model,
        }
        return self._tracing.span(f"{operation} {model.spec.upstream_model}", attributes)

    def _failed(self, reason: str, what: str) -> InfermeshError:
        return Unavailable(reason, f"The provider {self.provider.name} {what}.")


def _proxy_for(base_url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY ask for."""
    parts = urllib.parse.urlsplit(base_url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
