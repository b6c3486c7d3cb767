"""One provider, whatever its protocol: keys, time-outs, bounds, breaker."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from infermesh_common.context import time_budget_s
from infermesh_common.errors import (
    DeadlineExceeded,
    InfermeshError,
    ResourceExhausted,
    Unavailable,
)
from infermesh_common.resilience import Dependency
from infermesh_common.resources.types import Model, Provider, ProviderSpec
from infermesh_common.telemetry.tracing import Tracing
from infermesh_router.adapters.outbound.providers import http
from infermesh_router.adapters.outbound.providers.dialect import (
    AnswerStream,
    Call,
    CredentialSource,
    Dialect,
)
from infermesh_router.adapters.outbound.providers.keys import Key, ProviderKeys
from infermesh_router.application.resource_readiness import Standing
from infermesh_router.domain.answer import Answer, Chunk
from infermesh_router.domain.request import JsonObject, Surface
from infermesh_router.domain.resilience.answers import begins, check_answer
from infermesh_router.domain.resilience.cooldown import refusal_s
from infermesh_router.domain.sse import EventTooLarge
from infermesh_router.ports import Attempt

T = TypeVar("T")
# Shorter parts of a key are no secret, and words of every other message.
_SHORTEST_SECRET_CHARS = 8


class _KeyRefused(Exception):
    """No key, or a key that is not let in: says nothing of the provider's health, so the breaker
    must not take it for a failure."""

    def __init__(self, error: InfermeshError) -> None:
        super().__init__(error.reason)
        self.error = error


@dataclass(slots=True)
class _Started:
    """A stream of which the first content is there.

    Attributes:
        chunks: everything up to it, and what came with it.
        size: bytes read so far.
    """

    response: http.Response
    answer: AnswerStream
    chunks: list[Chunk]
    size: int


class ProviderEndpoint:
    """One Provider resource.

    Args:
        provider: the resource.
        dialect: its protocol.
        dependency: its breaker.
        keys: its keys.
        tracing: a span a call.
        max_response_bytes: larger answers are refused.
    """

    def __init__(
        self,
        provider: Provider,
        dialect: Dialect,
        dependency: Dependency,
        keys: ProviderKeys,
        tracing: Tracing,
        *,
        max_response_bytes: int,
    ) -> None:
        self.provider = provider
        self._spec: ProviderSpec = provider.spec
        self._dialect = dialect
        self._source = dialect if isinstance(dialect, CredentialSource) else None
        self._dependency = dependency
        self._keys = keys
        self._tracing = tracing
        self._max_response_bytes = max_response_bytes
        self._under_way = 0
        self._idle: asyncio.Event | None = None
        self._http = http.ProviderHttp(provider.spec)

    async def close(self) -> None:
        """Closes its connections; calls under way fail."""
        await self._http.close()

    def standing(self) -> Standing:
        """What calls have shown so far."""
        return self._keys.standing(failing=self._dependency.is_open)

    async def close_when_idle(self) -> None:
        """Lets calls under way end, then closes: for a provider whose resource has changed."""
        if self._under_way:
            self._idle = asyncio.Event()
            await self._idle.wait()
        await self.close()

    async def complete(
        self, model: Model, surface: Surface, body: JsonObject, attempt: Attempt
    ) -> Answer:
        """See `ModelProvider.complete`."""
        call = self._dialect.call(model, surface, body, stream=False)
        self._enter()
        try:
            with self._span(model, surface):
                return await self._guarded(
                    lambda: self._fetch(call, model, surface, body, attempt),
                    self._spec.timeouts.total_ms,
                )
        finally:
            self._leave()

    async def _fetch(
        self, call: Call, model: Model, surface: Surface, body: JsonObject, attempt: Attempt
    ) -> Answer:
        response = await self._open(call, model, attempt)
        try:
            data = await http.read_whole(response, self._max_response_bytes)
        except http.TooLarge as error:
            raise self._too_large() from error
        answer = self._dialect.answer(surface, body, data)
        check_answer(surface, answer)
        return answer

    async def stream(
        self, model: Model, surface: Surface, body: JsonObject, attempt: Attempt
    ) -> AsyncGenerator[list[Chunk], None]:
        """See `ModelProvider.stream`."""
        timeouts = self._spec.timeouts
        call = self._dialect.call(model, surface, body, stream=True)
        ends_at = time.monotonic() + time_budget_s(timeouts.total_ms)
        self._enter()
        try:
            with self._span(model, surface):
                started = await self._guarded(
                    lambda: self._begin(call, model, body, attempt), timeouts.first_token_ms
                )
                try:
                    chunks = started.chunks
                    while chunks:
                        yield chunks
                        chunks = await self._next(started, ends_at)
                finally:
                    if started.answer.ended:
                        http.finish(started.response)
                    else:
                        # What is unread is not worth waiting for, and closing tells the provider
                        # to stop.
                        started.response.close()
        finally:
            self._leave()

    async def _begin(
        self, call: Call, model: Model, body: JsonObject, attempt: Attempt
    ) -> _Started:
        """Reads up to the first content: a provider that fails before can still be replaced."""
        response = await self._open(call, model, attempt)
        try:
            answer = self._dialect.stream(body, self._max_response_bytes)
            started = _Started(response, answer, [], 0)
            while True:
                try:
                    piece = await http.next_piece(response)
                except http.FAILURES as error:
                    raise self._broken_off() from error
                fresh = self._feed(started, piece)
                started.chunks += fresh
                if any([begins(chunk) for chunk in fresh]):
                    return started
                if answer.ended:
                    raise self._failed("PROVIDER_STREAM_BROKEN", "ended its stream without a word")
        except BaseException:
            response.close()
            raise

    async def _next(self, started: _Started, ends_at: float) -> list[Chunk]:
        """The chunks that come next; none at the end.

        Raises:
            DeadlineExceeded: PROVIDER_TIMEOUT.
            Unavailable: PROVIDER_STREAM_BROKEN, PROVIDER_ANSWER_TOO_LARGE.
        """
        idle_until = time.monotonic() + self._spec.timeouts.between_tokens_ms / 1000
        # Signs of life between events are no tokens: they do not begin the time anew.
        while not started.answer.ended:
            piece = await self._read(started.response, min(idle_until, ends_at))
            if chunks := self._feed(started, piece):
                return chunks
        return []

    async def _read(self, response: http.Response, until: float) -> bytes:
        left_s = until - time.monotonic()
        try:
            if left_s <= 0:
                raise TimeoutError
            # Often the next events wait already, and no timer is needed.
            if piece := response.content.read_nowait():
                return piece
            async with asyncio.timeout(left_s):
                return await http.next_piece(response)
        except TimeoutError as error:
            raise DeadlineExceeded(
                "PROVIDER_TIMEOUT", f"The provider {self.provider.name} took too long."
            ) from error
        except http.FAILURES as error:
            raise self._broken_off() from error

    def _feed(self, started: _Started, piece: bytes) -> list[Chunk]:
        if not piece:
            raise self._failed("PROVIDER_STREAM_BROKEN", "ended its stream before the answer did")
        started.size += len(piece)
        if started.size > self._max_response_bytes:
            raise self._too_large()
        try:
            return started.answer.feed(piece)
        except EventTooLarge as error:
            raise self._too_large() from error

    async def _guarded(self, operation: Callable[[], Awaitable[T]], timeout_ms: int) -> T:
        """Within the breaker, the time-out and the request's deadline."""
        try:
            return await self._dependency.call(
                operation, timeout_ms=timeout_ms, failures=http.FAILURES
            )
        except _KeyRefused as refused:
            raise refused.error from None

    async def _open(self, call: Call, model: Model, attempt: Attempt) -> http.Response:
        """The response, once its status is known to be good."""
        try:
            key = self._keys.choose(model)
            proof = await self._proof(call, key.secret)
        except InfermeshError as error:
            raise _KeyRefused(error) from None
        attempt.called = True
        try:
            response = await self._http.post(call, proof)
        except http.NOT_CONNECTED:
            attempt.called = False
            raise
        except http.CUT_OFF:
            attempt.repeatable = True
            raise
        if response.status < 300:
            self._keys.answered(key, model, response.headers)
            return response
        raise await self._refusal(response, key, model, attempt)

    async def _proof(self, call: Call, secret: str) -> Mapping[str, str]:
        """Headers that prove who calls; none where the resource names no key."""
        if self._source is not None:
            secret = await self._source.credentials(secret)
        if not secret:
            return {}
        return self._dialect.headers(self._spec, self._http.url(call), call, secret)

    async def _refusal(
        self, response: http.Response, key: Key, model: Model, attempt: Attempt
    ) -> Exception:
        data = _without(key.secret, await http.read_error(response))
        error = self._dialect.error(self.provider.name, response.status, response.headers, data)
        if error.retry_after_s is None:
            error.retry_after_s = refusal_s(response.headers, time.time())
        if isinstance(error, ResourceExhausted):
            wait_s = self._keys.limited(key, model, error.retry_after_s)
            error.retry_after_s = error.retry_after_s or wait_s
            attempt.repeatable = self._keys.is_free(model)
        elif error.reason == "PROVIDER_REFUSED_CREDENTIALS":
            attempt.repeatable = self._keys.refused(key, model)
            return _KeyRefused(error)
        return error

    def _enter(self) -> None:
        """Takes one of the calls that may be under way at once."""
        if self._under_way >= self._spec.max_concurrent:
            raise self._failed("PROVIDER_OVERLOADED", "has too many calls under way")
        self._under_way += 1

    def _leave(self) -> None:
        self._under_way -= 1
        if self._idle is not None and not self._under_way:
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

    def _broken_off(self) -> InfermeshError:
        return self._failed("PROVIDER_STREAM_BROKEN", "broke its stream off")

    def _too_large(self) -> InfermeshError:
        return self._failed("PROVIDER_ANSWER_TOO_LARGE", "sent too large an answer")


def _without(secret: str, data: bytes) -> bytes:
    """What a provider says of a request, in case it repeats the key: the client is told."""
    for part in (secret, *secret.split(":")):
        if len(part) >= _SHORTEST_SECRET_CHARS:
            data = data.replace(part.encode(), b"[key]")
    return data
