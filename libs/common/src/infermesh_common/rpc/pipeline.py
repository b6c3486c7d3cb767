"""What happens around every RPC, from outer to inner: request context, (tracing,) access log,
metrics, error mapping, deadline, identity, validation.

One interceptor with plain, synchronous stages instead of a chain of interceptors: each of those
would add a coroutine an RPC and a generator a streamed message. Tracing is OpenTelemetry's own
interceptor, outermost when it is on.
"""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, NoReturn, Protocol, cast

import grpc
import structlog

from infermesh_common import context as request_context
from infermesh_common.context import RequestContext, is_uuid
from infermesh_common.errors import (
    STATUS_DETAILS_TRAILER,
    DeadlineExceeded,
    InfermeshError,
    Internal,
    ResourceExhausted,
    Unavailable,
    from_rpc_error,
    to_status,
)
from infermesh_common.rpc.deadline import StreamDeadline
from infermesh_common.rpc.handlers import (
    Context,
    Message,
    ReplicaStopping,
    arity_of,
    parsed,
    unchanged,
    unless_cancelled,
)
from infermesh_common.telemetry.logs import without_text

_log = structlog.get_logger(__name__)
# Answered whoever asks: probes carry no key.
OPEN_PREFIXES = ("/grpc.health.", "/grpc.reflection.")
_MOMENT_S = 1.0
# gRPC counts deadlines by another clock.
_CLOCK_SKEW_S = 0.005

Trailers = tuple[tuple[str, str | bytes], ...]


class Observer(Protocol):
    """Sees every RPC begin and end; must not raise."""

    def began(self, call: RequestContext) -> None:
        """The RPC arrived."""

    def ended(self, call: RequestContext, code: str) -> None:
        """The RPC ended with that gRPC status code, for example "OK"."""


class Guard(Protocol):
    """Decides whether an RPC may proceed."""

    def admit(self, call: RequestContext) -> None:
        """Raises an `InfermeshError` to refuse."""


class ErrorTrailers(Protocol):
    """Further trailing metadata of an error, for surfaces with a shape of their own."""

    def __call__(self, call: RequestContext, error: InfermeshError) -> Trailers:
        """Trailers of `error` for the method called."""


def _no_trailers(call: RequestContext, error: InfermeshError) -> Trailers:
    return ()


class ServerPipeline(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server.

    Args:
        observers: outer stages, in order.
        guards: inner stages, in order.
        default_deadline_ms: deadline of calls that bring none.
        error_trailers: see `ErrorTrailers`.
        max_concurrent: RPCs served at once; more are refused. Health is not among them, so that
            a busy service is not taken for a dead one. None: no bound.
    """

    def __init__(
        self,
        *,
        observers: Sequence[Observer],
        guards: Sequence[Guard],
        default_deadline_ms: int,
        error_trailers: ErrorTrailers | None = None,
        max_concurrent: int | None = None,
    ) -> None:
        self._observers = tuple(observers)
        self._guards = tuple(guards)
        self._default_deadline_s = default_deadline_ms / 1000
        self._error_trailers = error_trailers or _no_trailers
        self._max_concurrent = max_concurrent
        self._under_way = 0
        self._last_began_s = -math.inf
        self._closed = False
        self._interrupted = False
        self._limits: set[asyncio.Timeout] = set()
        self._deadlines: set[StreamDeadline] = set()
        # grpc asks at every RPC; the methods of a server are few and their handlers do not change.
        self._wrapped: dict[str, tuple[object, grpc.RpcMethodHandler[Message, Message]]] = {}

    @property
    def under_way(self) -> int:
        """Calls that began and have not ended; a client may know the end of one a little sooner."""
        return self._under_way

    @property
    def busy(self) -> bool:
        """Whether calls are under way or came a moment ago."""
        return self._under_way > 0 or time.monotonic() < self._last_began_s + _MOMENT_S

    def close(self) -> None:
        """Refuses new calls with UNAVAILABLE, which callers retry elsewhere."""
        self._closed = True

    def interrupt(self) -> None:
        """Ends the calls under way with UNAVAILABLE: the time for stopping is almost over. Streams
        that have begun get it raised in their handlers, which may tell their clients."""
        self._interrupted = True
        for limit in self._limits:
            limit.reschedule(0)
        for deadline in list(self._deadlines):
            deadline.interrupt(ReplicaStopping(touched=True))

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Message, Message] | None"]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Message, Message] | None":
        """Returns the handler of the method with this pipeline around it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(OPEN_PREFIXES):
            return handler
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, self._wrap(method, handler))
        return known[1]

    def _wrap(
        self, method: str, handler: "grpc.RpcMethodHandler[Message, Message]"
    ) -> "grpc.RpcMethodHandler[Message, Message]":
        make, inner = arity_of(handler)
        # Messages are (de)serialised in here, where a fault has a code, a log line and no way out
        # for its text. A stream of requests is read by the handler itself.
        parse = unchanged if handler.request_streaming else handler.request_deserializer
        serve = self._streamed if handler.response_streaming else self._single
        return cast(
            "grpc.RpcMethodHandler[Message, Message]",
            make(
                serve(method, inner, parse or unchanged, handler.response_serializer or unchanged),
                request_deserializer=(
                    handler.request_deserializer if handler.request_streaming else None
                ),
                response_serializer=None,
            ),
        )

    def _single(
        self,
        method: str,
        inner: Callable[..., Any],
        parse: Callable[[Message], Message],
        serialize: Callable[[Message], Message],
    ) -> Callable[[Message, Context], Awaitable[Message]]:
        async def serve(request: Message, context: Context) -> Message:
            call = self._begin(method, context)
            code = grpc.StatusCode.CANCELLED
            try:
                self._admit(call)
                async with asyncio.timeout(call.remaining_s()) as limit:
                    self._limits.add(limit)
                    try:
                        response = serialize(await inner(parsed(parse, request), context))
                    finally:
                        self._limits.discard(limit)
                code = grpc.StatusCode.OK
                return response
            except grpc.aio.AbortError:
                code = context.code()  # the handler refused by itself
                raise
            except (Exception, asyncio.CancelledError) as error:
                mapped = self._mapped(call, unless_cancelled(error))
                code = mapped.status_code
                await self._abort(call, context, mapped)
            finally:
                self._end(call, code)

        return serve

    def _streamed(
        self,
        method: str,
        inner: Callable[..., Any],
        parse: Callable[[Message], Message],
        serialize: Callable[[Message], Message],
    ) -> Callable[[Message, Context], AsyncIterator[Message]]:
        async def serve(request: Message, context: Context) -> AsyncIterator[Message]:
            call = self._begin(method, context)
            code = grpc.StatusCode.CANCELLED
            try:
                self._admit(call)
                async with (
                    StreamDeadline(call.remaining_s()) as deadline,
                    aclosing(inner(parsed(parse, request), context)) as responses,
                ):
                    self._deadlines.add(deadline)
                    try:
                        while True:
                            try:
                                message = serialize(await deadline.next(responses))
                            except StopAsyncIteration:
                                break
                            # While grpc sends, the task is not in here: cancelled then, it would
                            # end without a status, and the caller would wait for one in vain.
                            deadline.paused = True
                            yield message
                            deadline.resume()
                    finally:
                        self._deadlines.discard(deadline)
                code = grpc.StatusCode.OK
            except grpc.aio.AbortError:
                code = context.code()  # the handler refused by itself
                raise
            except (Exception, asyncio.CancelledError) as error:
                mapped = self._mapped(call, unless_cancelled(error))
                code = mapped.status_code
                await self._abort(call, context, mapped)
            finally:
                self._end(call, code)

        return serve

    def _begin(self, method: str, context: Context) -> RequestContext:
        metadata = {
            name: value
            for name, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        remaining_s = context.time_remaining()
        limit_s = self._default_deadline_s if remaining_s is None else remaining_s
        claimed = metadata.get("x-request-id", "")
        call = RequestContext(
            method=method,
            request_id=claimed.lower() if is_uuid(claimed) else str(uuid.uuid4()),
            metadata=metadata,
            deadline_s=time.monotonic() + limit_s,
            started_ns=time.perf_counter_ns(),
        )
        request_context.bind(call)
        self._under_way += 1
        self._last_began_s = time.monotonic()
        for observer in self._observers:
            observer.began(call)
        return call

    def _admit(self, call: RequestContext) -> None:
        if self._closed:
            raise ReplicaStopping(touched=False)
        if self._max_concurrent is not None and self._under_way > self._max_concurrent:
            raise ResourceExhausted(
                "SERVER_OVERLOADED", "Too many requests are being served.", retry_after_s=1
            )
        for guard in self._guards:
            guard.admit(call)

    def _mapped(self, call: RequestContext, error: Exception) -> InfermeshError:
        if self._interrupted and isinstance(error, TimeoutError) and call.remaining_s() > 0:
            return ReplicaStopping(touched=True)
        return map_error(call, error)

    def _end(self, call: RequestContext, code: grpc.StatusCode) -> None:
        self._under_way -= 1
        if code is grpc.StatusCode.CANCELLED and call.remaining_s() < _CLOCK_SKEW_S:
            # gRPC's own timer was faster than ours, or fired while it was sending.
            code = grpc.StatusCode.DEADLINE_EXCEEDED
        for observer in reversed(self._observers):
            observer.ended(call, code.name)

    async def _abort(
        self, call: RequestContext, context: Context, error: InfermeshError
    ) -> NoReturn:
        status = to_status(error)
        trailers: Trailers = (
            (STATUS_DETAILS_TRAILER, status.SerializeToString()),
            ("x-request-id", call.request_id),
            *self._error_trailers(call, error),
            *([error.trailer] if isinstance(error, ReplicaStopping) else []),
        )
        try:
            await context.abort(error.status_code, error.message, trailers)
        except grpc.aio.AbortError as aborted:
            # Tracing records it with its whole chain: the error behind it may quote a prompt.
            raise aborted from None


def map_error(call: RequestContext, error: Exception) -> InfermeshError:
    """The error a caller may see. A defect of ours is logged and told as INTERNAL, no more."""
    if isinstance(error, InfermeshError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("DEADLINE_EXCEEDED", "The deadline of the request has passed.")
    if isinstance(error, grpc.aio.AioRpcError):
        downstream = from_rpc_error(error)
        _log.warning("downstream_failed", method=call.method, reason=downstream.reason)
        return Unavailable("DOWNSTREAM_FAILED", "A service of the mesh failed.")
    _log.error(
        "rpc_defect", method=call.method, request_id=call.request_id, error=without_text(error)
    )
    _log.debug("rpc_defect_text", request_id=call.request_id, exc_info=error)
    return Internal("INTERNAL", "Internal error. Quote the request id when reporting it.")
