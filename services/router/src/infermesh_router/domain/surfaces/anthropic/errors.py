"""Errors in Anthropic's shape. Source: Anthropic API reference, "Errors"."""

from infermesh_common.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InfermeshError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)

_TYPES: dict[type[InfermeshError], str] = {
    InvalidArgument: "invalid_request_error",
    FailedPrecondition: "invalid_request_error",
    NotFound: "not_found_error",
    Unauthenticated: "authentication_error",
    PermissionDenied: "permission_error",
    ResourceExhausted: "rate_limit_error",
    DeadlineExceeded: "timeout_error",
}
_OVERLOADED = frozenset({"SERVER_OVERLOADED", "PROVIDER_OVERLOADED"})


def is_overload(error: InfermeshError) -> bool:
    """Whether there is no room at the mesh or at the provider, whoever asks: Anthropic has a type
    and a status (529) of its own for that."""
    return error.reason in _OVERLOADED or error.metadata.get("provider_status") == "529"


def anthropic_error(error: InfermeshError) -> dict[str, object]:
    """The body Anthropic's SDKs expect. The stable reason goes, in lower case, where they look for
    what a program may depend on."""
    kind = _TYPES.get(type(error), "api_error")
    if is_overload(error):
        kind = "overloaded_error"
    elif error.reason == "REQUEST_TOO_LARGE":
        kind = "request_too_large"
    message = error.message
    if error.field and error.field not in message:
        message = f"{error.field}: {message}"
    return {
        "type": "error",
        "error": {
            "type": kind,
            "message": message,
            "details": {"error_code": error.reason.lower()},
        },
    }
