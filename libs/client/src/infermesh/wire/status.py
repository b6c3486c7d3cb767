"""From a failed call to a typed error."""

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from infermesh import errors

_BY_CODE: dict[grpc.StatusCode, type[errors.InfermeshError]] = {
    grpc.StatusCode.UNAUTHENTICATED: errors.AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: errors.InvalidRequestError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.RateLimitError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.ALREADY_EXISTS: errors.ConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.ConflictError,
    grpc.StatusCode.ABORTED: errors.ConflictError,
    grpc.StatusCode.INTERNAL: errors.InternalError,
    grpc.StatusCode.UNKNOWN: errors.InternalError,
    grpc.StatusCode.DATA_LOSS: errors.InternalError,
}


def error_from_rpc(error: grpc.RpcError, request_id: str) -> errors.InfermeshError:
    """The typed error behind a failed call.

    A status without `ErrorInfo` (gRPC's own, or a proxy's) gets the code's name as reason.

    Args:
        error: what gRPC raised.
        request_id: the id that was sent; the server's own takes precedence.
    """
    code = error.code()
    reason, facts = code.name, dict[str, str]()
    retry_after_s: float | None = None
    field: str | None = None
    status = _status(error)
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, facts = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMicroseconds() / 1_000_000
        elif detail.Unpack(bad_request) and bad_request.field_violations:
            field = bad_request.field_violations[0].field
    kind = _BY_CODE.get(code, errors.InfermeshError)
    return kind(
        error.details() or code.name,
        reason=reason,
        request_id=_request_id(error) or request_id,
        retry_after_s=retry_after_s,
        metadata=facts,
        field=field,
    )


def _status(error: grpc.RpcError) -> status_pb2.Status | None:
    """Details of the status; None when there are none, or none that agree with the status."""
    try:
        return rpc_status.from_call(error)
    except (DecodeError, ValueError):
        return None


def _request_id(error: grpc.RpcError) -> str:
    """The server's own id of the request; asyncio's errors have another type of metadata."""
    if isinstance(error, grpc.aio.AioRpcError):
        value = (error.trailing_metadata() or {}).get("x-request-id")
        return value if isinstance(value, str) else ""
    for metadatum in error.trailing_metadata() or ():
        if metadatum.key == "x-request-id" and isinstance(metadatum.value, str):
            return metadatum.value
    return ""
