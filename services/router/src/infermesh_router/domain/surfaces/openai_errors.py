"""Errors in OpenAI's shape. Source: OpenAI API reference, "Error codes"."""

from infermesh_common.errors import (
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
    NotFound: "invalid_request_error",
    Unauthenticated: "authentication_error",
    PermissionDenied: "permission_error",
    ResourceExhausted: "rate_limit_error",
}


def openai_error(error: InfermeshError) -> dict[str, object]:
    """The body OpenAI's SDKs expect. `code` is the reason in lower case, or the provider's own
    code when it is the provider that judged the request."""
    kind = _TYPES.get(type(error), "server_error")
    code = error.reason.lower()
    if error.reason == "PROVIDER_REJECTED_REQUEST":
        kind = error.metadata.get("provider_type", kind)
        code = error.metadata.get("provider_code", code)
    return {"error": {"message": error.message, "type": kind, "param": error.field, "code": code}}
