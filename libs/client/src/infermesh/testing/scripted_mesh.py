"""The scripted mesh."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import NoReturn, Self, TypeAlias, Union

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from infermesh.analytics.v1 import ledger_pb2
from infermesh.cache.v1 import cache_pb2, retrieval_pb2
from infermesh.governance.v1 import keys_pb2, tenants_pb2
from infermesh.router.v1 import inference_pb2, operations_pb2

_FILES = (
    inference_pb2,
    operations_pb2,
    ledger_pb2,
    cache_pb2,
    retrieval_pb2,
    keys_pb2,
    tenants_pb2,
)
_DOMAIN = "infermesh.dev"
_WORKERS = 16


@dataclass(frozen=True)
class Failure:
    """An error as the mesh sends it.

    Args:
        code: gRPC status.
        message: one sentence.
        reason: UPPER_SNAKE; empty: a bare status without details, as a proxy sends it.
        metadata: facts for programs.
        retry_after_s: seconds after which a retry may succeed.
        field: request field at fault.
        request_id: id the server gave the request; empty: none is sent.
    """

    code: grpc.StatusCode
    message: str = "Scripted."
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    field: str | None = None
    request_id: str = ""

    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """Trailing metadata of the call that fails so."""
        own = (("x-request-id", self.request_id),) if self.request_id else ()
        if not self.reason:
            return own
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason=self.reason, domain=_DOMAIN, metadata=self.metadata)
        )
        if self.retry_after_s is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMicroseconds(int(self.retry_after_s * 1_000_000))
            status.details.add().Pack(retry)
        if self.field is not None:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field)
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        return (*own, ("grpc-status-details-bin", status.SerializeToString()))


@dataclass(frozen=True)
class Hang:
    """No answer until the caller gives up or the mesh is stopped."""


@dataclass(frozen=True)
class Stream:
    """What a streaming method sends, in order; a `Failure` or `Hang` may stand anywhere."""

    events: tuple[Message | Failure | Hang, ...]


Outcome: TypeAlias = Union[Message, Failure, Hang, Stream, Callable[[Message], Message]]
"""How a call ends. A callable makes the answer from the request."""


@dataclass(frozen=True)
class ReceivedCall:
    """A call as it arrived.

    Args:
        method: for example "Infer".
        request: its message.
        metadata: text metadata.
        remaining_s: time left until its deadline, in seconds.
    """

    method: str
    request: Message
    metadata: Mapping[str, str]
    remaining_s: float


class ScriptedMesh:
    """The mesh. Use it in a `with` block.

    Args:
        credentials: of a TLS server; None for plain text.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.calls: list[ReceivedCall] = []
        self._script: dict[str, list[Outcome]] = defaultdict(list)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._workers = ThreadPoolExecutor(_WORKERS)
        self._server = grpc.server(self._workers, options=[("grpc.so_reuseport", 0)])
        for file in _FILES:
            for service in file.DESCRIPTOR.services_by_name.values():
                self._server.add_generic_rpc_handlers((self._handlers(service),))
        local = "127.0.0.1:0"
        self.port = (
            self._server.add_insecure_port(local)
            if credentials is None
            else self._server.add_secure_port(local, credentials)
        )

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def script(self, method: str, *outcomes: Outcome) -> None:
        """Says how the next calls of `method`, for example "Infer", end; the last one repeats."""
        with self._lock:
            self._script[method] = list(outcomes)

    def received(self, method: str) -> list[ReceivedCall]:
        """Calls of one method so far."""
        with self._lock:
            return [call for call in self.calls if call.method == method]

    def _handlers(self, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            service.full_name, {method.name: self._handler(method) for method in service.methods}
        )

    def _handler(self, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Message, Message]":
        request_type = message_factory.GetMessageClass(method.input_type)

        def unary(request: Message, context: grpc.ServicerContext) -> Message:
            outcome = self._next(method.name, request, context)
            assert not isinstance(outcome, Stream), f"{method.name} does not stream"
            return self._play(outcome, context)

        def streamed(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            outcome = self._next(method.name, request, context)
            for event in outcome.events if isinstance(outcome, Stream) else (outcome,):
                yield self._play(event, context)

        make = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return make(
            streamed if method.server_streaming else unary,
            request_deserializer=request_type.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    def _next(
        self, method: str, request: Message, context: grpc.ServicerContext
    ) -> Message | Failure | Hang | Stream:
        metadata = {
            name: value for name, value in context.invocation_metadata() if isinstance(value, str)
        }
        call = ReceivedCall(method, request, metadata, context.time_remaining())
        with self._lock:
            self.calls.append(call)
            script = self._script[method]
            if not script:
                return Failure(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not scripted.")
            outcome = script[0] if len(script) == 1 else script.pop(0)
        return outcome(request) if callable(outcome) else outcome

    def _play(self, outcome: Message | Failure | Hang, context: grpc.ServicerContext) -> Message:
        if isinstance(outcome, Failure):
            _abort(outcome, context)
        if isinstance(outcome, Hang):
            ended = threading.Event()
            if context.add_callback(ended.set):
                while not ended.wait(0.05) and not self._stopping.is_set():
                    pass
            _abort(Failure(grpc.StatusCode.CANCELLED, "Nobody waits."), context)
        return outcome

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._server.stop(grace=None).wait()
        self._workers.shutdown()


def _abort(failure: Failure, context: grpc.ServicerContext) -> NoReturn:
    context.set_trailing_metadata(failure.trailers())
    context.abort(failure.code, failure.message)
