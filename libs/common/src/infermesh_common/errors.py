"""Errors of the domain, and the one table that maps them to `google.rpc.Status`.

Domain code raises subclasses of `InfermeshError` and knows nothing of gRPC. The server
pipeline maps them on the way out, `from_rpc_error` maps them back in a client.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "infermesh.dev"
STATUS_DETAILS_TRAILER = "grpc-status-details-bin"
# An error travels as metadata, of which gRPC clients take 8 KiB unless told otherwise, and its
# message up to four times: percent-encoded, twice in the details, and in a surface's own trailer.
_LONGEST_MESSAGE_BYTES = 640
_LONGEST_VALUE_BYTES = 256
_LONGEST_RETRY_AFTER_S = 7 * 86_400.0


class InfermeshError(Exception):
    """An error with a stable reason.

    Args:
        reason: UPPER_SNAKE identifier that clients may depend on.
        message: one sentence for a person; holds no prompt and no secret.
        metadata: facts a program can use, for example {"model": "gpt-x"}.
        retry_after_s: seconds after which a retry may succeed, when that is known.
        field: path of the request field at fault, when there is one.

    Texts are cut where they are longer than fits into the metadata of an answer.
    """

    status_code: grpc.StatusCode = grpc.StatusCode.INTERNAL

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = _cut(message, _LONGEST_MESSAGE_BYTES)
        self.metadata = {
            name: _cut(value, _LONGEST_VALUE_BYTES) for name, value in (metadata or {}).items()
        }
        self.retry_after_s = _delay(retry_after_s)
        self.field = None if field is None else _cut(field, _LONGEST_VALUE_BYTES)


def _cut(text: str, longest_bytes: int) -> str:
    """`text` as UTF-8 can carry it (JSON lets lone surrogates in), at most that long."""
    return text.encode("utf-8", "replace")[:longest_bytes].decode("utf-8", "ignore")


def _delay(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER_S)


class InvalidArgument(InfermeshError):
    """The request is wrong whatever the state of the system."""

    status_code = grpc.StatusCode.INVALID_ARGUMENT


class Unauthenticated(InfermeshError):
    """The caller could not be identified."""

    status_code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(InfermeshError):
    """The caller is known and may not do this."""

    status_code = grpc.StatusCode.PERMISSION_DENIED


class NotFound(InfermeshError):
    """What the request names does not exist, or not for this caller."""

    status_code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(InfermeshError):
    """What the request would create exists."""

    status_code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(InfermeshError):
    """The state of the system does not allow it; a retry will not help."""

    status_code = grpc.StatusCode.FAILED_PRECONDITION


class ResourceExhausted(InfermeshError):
    """A quota, a rate limit or a size limit."""

    status_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(InfermeshError):
    """Something needed is down; a retry may help."""

    status_code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(InfermeshError):
    """Time ran out."""

    status_code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unimplemented(InfermeshError):
    """The operation is not offered here."""

    status_code = grpc.StatusCode.UNIMPLEMENTED


class Internal(InfermeshError):
    """A defect of ours. Its message says nothing about the inside."""

    status_code = grpc.StatusCode.INTERNAL


_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_BY_CODE: dict[grpc.StatusCode, type[InfermeshError]] = {
    kind.status_code: kind
    for kind in (
        InvalidArgument,
        Unauthenticated,
        PermissionDenied,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        Unimplemented,
        Internal,
    )
}


def to_status(error: InfermeshError) -> status_pb2.Status:
    """The `google.rpc.Status` of an error, with `ErrorInfo` and, where they apply, `RetryInfo`
    and `BadRequest`."""
    details = [any_pb2.Any()]
    details[0].Pack(
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    )
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(round(error.retry_after_s * 1_000_000))
        details.append(any_pb2.Any())
        details[-1].Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message
        )
        details.append(any_pb2.Any())
        details[-1].Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    code: int = error.status_code.value[0]
    return status_pb2.Status(code=code, message=error.message, details=details)


def from_rpc_error(error: grpc.aio.AioRpcError) -> InfermeshError:
    """The domain error behind a failed call; the reverse of `to_status`.

    A status without `ErrorInfo` (gRPC's own, or a peer's) gets the code's name as reason.
    """
    return _from_details(error.code(), error.details() or "", lambda: _details_of(error))


def from_status(status: status_pb2.Status) -> InfermeshError:
    """The domain error behind a `google.rpc.Status`; the reverse of `to_status`."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _from_details(code, status.message, lambda: status.details)


def _from_details(
    code: grpc.StatusCode, message: str, details: Callable[[], Iterable[any_pb2.Any]]
) -> InfermeshError:
    kind = _BY_CODE.get(code, Unavailable)
    reason, metadata = code.name, dict[str, str]()
    retry_after_s, field = None, None
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    bad_request = error_details_pb2.BadRequest()
    try:
        for detail in details():
            if detail.Unpack(info):
                reason, metadata = info.reason or reason, dict(info.metadata)
            elif detail.Unpack(retry):
                retry_after_s = retry.retry_delay.ToMicroseconds() / 1_000_000
            elif detail.Unpack(bad_request) and bad_request.field_violations:
                field = bad_request.field_violations[0].field
    except DecodeError:
        # A peer's garbage must not turn its refusal into a defect of ours.
        metadata = {**metadata, "details": "malformed"}
    return kind(
        reason,
        message or code.name,
        metadata=metadata,
        retry_after_s=retry_after_s,
        field=field,
    )


def _details_of(error: grpc.aio.AioRpcError) -> list[any_pb2.Any]:
    """The details a peer sent; none when they do not belong to the status that arrived.

    Raises:
        DecodeError: they are not of the form.
    """
    for name, value in error.trailing_metadata() or ():
        if name == STATUS_DETAILS_TRAILER and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            return list(status.details) if status.code == error.code().value[0] else []
    return []


def code_name(code: int) -> str:
    """Name of a `google.rpc.Code`, for example 5 -> "NOT_FOUND"."""
    return str(code_pb2.Code.Name(code))
