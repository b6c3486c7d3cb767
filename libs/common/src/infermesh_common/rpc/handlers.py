"""Handlers of the four arities, and what goes wrong at their edges."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from infermesh_common.errors import InvalidArgument, Unavailable

# Protobuf messages of any service, and grpc's handler: types that the generated code owns.
Message = Any
Context = grpc.aio.ServicerContext[Message, Message]


# Of an error of a replica that stops, for whoever balances between replicas.
STOPPING_TRAILER = "x-infermesh-stopping"


class ReplicaStopping(Unavailable):
    """This replica stops; another one may be asked.

    Args:
        touched: whether work on the call had begun.
    """

    def __init__(self, *, touched: bool) -> None:
        what = "before the answer was complete" if touched else "and takes nothing on"
        super().__init__("SERVICE_STOPPING", f"This replica stops {what}.")
        self.trailer = (STOPPING_TRAILER, "interrupted" if touched else "refused")


def arity_of(
    handler: "grpc.RpcMethodHandler[Message, Message]",
) -> tuple[Callable[..., object], Callable[..., Any]]:
    """The function that makes a handler of the same arity, and the handler's own function."""
    arities: dict[tuple[bool, bool], tuple[Callable[..., object], Any]] = {
        (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    }
    return arities[bool(handler.request_streaming), bool(handler.response_streaming)]


def unchanged(message: Message) -> Message:
    """Stands in for a (de)serialiser where a handler has none."""
    return message


def parsed(parse: Callable[[Message], Message], request: Message) -> Message:
    """`request` as a message.

    Raises:
        InvalidArgument: REQUEST_MALFORMED.
    """
    try:
        return parse(request)
    except Exception as error:  # of the protobuf runtime, which has several kinds
        raise InvalidArgument("REQUEST_MALFORMED", "The request cannot be parsed.") from error


def unless_cancelled(error: BaseException) -> Exception:
    """`error` as a fault of the handler; raises it again when it is this RPC that was cancelled.

    grpc sends no status for a handler that ends cancelled, and a handler may do so because
    something it awaited was: its caller would wait for ever.
    """
    if isinstance(error, Exception):
        return error
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise error
    defect = RuntimeError("cancelled by something it awaited")
    defect.__cause__ = error
    return defect
