"""Providers that speak OpenAI's wire: OpenAI, Azure deployments, vLLM, Ollama, local servers."""

import asyncio
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
from anyio import CapacityLimiter, WouldBlock

from infermesh_common.context import time_budget_s
from infermesh_common.errors import DeadlineExceeded, InfermeshError, Unavailable
from infermesh_common.resilience import Dependency
from infermesh_common.resources.types import Model, Provider, ProviderSpec
from infermesh_common.settings import SettingsError, read_secret
from infermesh_common.telemetry.tracing import Tracing
from infermesh_router.adapters.outbound.provider_errors import from_response
from infermesh_router.domain.request import JsonObject, Surface
from infermesh_router.domain.sse import EventDecoder, EventTooLarge

_PATHS = {Surface.CHAT: "/chat/completions", Surface.EMBEDDINGS: "/embeddings"}
_DONE = b"[DONE]"
_LONGEST_ERROR_BODY_BYTES = 65_536
_FAILURES = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError)


class OpenAIProvider:
    """One Provider resource.

    Args:
        provider: the resource.
        dependency: its breaker.
        tracing: a span a call.
        max_response_bytes: larger answers are refused.
    """

    def __init__(
        self,
        provider: Provider,
        dependency: Dependency,
        tracing: Tracing,
        *,
        max_response_bytes: int,
    ) -> None:
        self.provider = provider
        self._spec: ProviderSpec = provider.spec
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

    async def complete(self, model: Model, surface: Surface, body: JsonObject) -> bytes:
        """See `ModelProvider.complete`."""
        async with self._slot():
            with self._span(model, surface):
                return await self._dependency.call(
                    lambda: self._fetch(model, surface, body),
                    timeout_ms=self._spec.timeouts.total_ms,
                    failures=_FAILURES,
                )

    async def _fetch(self, model: Model, surface: Surface, body: JsonObject) -> bytes:
        response = await self._open(model, surface, body)
        async with response:
            answer = bytearray()
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > self._max_response_bytes:
                    raise self._failed("PROVIDER_ANSWER_TOO_LARGE", "sent too large an answer")
            return bytes(answer)

    async def stream(
        self, model: Model, surface: Surface, body: JsonObject
    ) -> AsyncGenerator[bytes, None]:
        """See `ModelProvider.stream`."""
        timeouts = self._spec.timeouts
        ends_at = time.monotonic() + time_budget_s(timeouts.total_ms)
        async with self._slot():
            with self._span(model, surface):
                response = await self._dependency.call(
                    lambda: self._open(model, surface, body),
                    timeout_ms=timeouts.first_token_ms,
                    failures=_FAILURES,
                )
                try:
                    decoder = EventDecoder(self._max_response_bytes)
                    limit_s = timeouts.first_token_ms / 1000
                    while piece := await self._read(response, limit_s, ends_at):
                        for data in decoder.feed(piece):
                            if data == _DONE:
                                return
                            yield data
                            limit_s = timeouts.between_tokens_ms / 1000
                    raise self._failed("PROVIDER_STREAM_BROKEN", "ended its stream without [DONE]")
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
        self, model: Model, surface: Surface, body: JsonObject
    ) -> aiohttp.ClientResponse:
        """The response, once its status is known to be good."""
        response = await self._session.post(
            self._spec.base_url + _PATHS[surface],
            data=orjson.dumps({**body, "model": model.spec.upstream_model}),
            headers=self._headers(),
            params=self._spec.query or None,
            allow_redirects=False,
            proxy=self._proxy,
        )
        if response.status < 300:
            return response
        async with response:
            text = await response.content.read(_LONGEST_ERROR_BODY_BYTES)
            raise from_response(self.provider.name, response.status, response.headers, text)

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", **self._spec.headers}
        if self._spec.auth is None:
            return headers
        try:
            # Read anew each time, so that a rotated secret needs no restart.
            secret = read_secret(Path(self._spec.auth.file))
        except SettingsError as error:
            raise self._failed("PROVIDER_KEY_MISSING", "has no readable key") from error
        bearer = self._spec.auth_header.lower() == "authorization"
        headers[self._spec.auth_header] = f"Bearer {secret}" if bearer else secret
        return headers

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
