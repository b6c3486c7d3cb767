"""Errors in OpenAI's shape. Source: OpenAI API reference, "Error codes"."""

import grpc

from infermesh_common.errors import InfermeshError

_TYPES = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid_request_error",
    grpc.StatusCode.FAILED_PRECONDITION: "invalid_request_error",
    grpc.StatusCode.NOT_FOUND: "invalid_request_error",
    grpc.StatusCode.UNAUTHENTICATED: "authentication_error",
    grpc.StatusCode.PERMISSION_DENIED: "permission_error",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "rate_limit_error",
}


def openai_error(error: InfermeshError) -> dict[str, object]:
    """The body OpenAI's SDKs expect. `code` is the reason in lower case, or the provider's own
    code when it is the provider that judged the request."""
    kind = _TYPES.get(error.status_code, "server_error")
    code = error.reason.lower()
    if error.reason == "PROVIDER_REJECTED_REQUEST":
        kind = error.metadata.get("provider_type", kind)
        code = error.metadata.get("provider_code", code)
    return {"error": {"message": error.message, "type": kind, "param": error.field, "code": code}}
