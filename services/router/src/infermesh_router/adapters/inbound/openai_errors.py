"""Errors in OpenAI's shape.

Source: OpenAI API reference, "Error codes". Behind Envoy the HTTP status comes from the gRPC
status; the body is this one, carried in a trailer.
"""

import grpc
import orjson

from infermesh_common.context import RequestContext
from infermesh_common.errors import InfermeshError
from infermesh_common.rpc.pipeline import Trailers

SERVICE = "/infermesh.router.v1.OpenAIService/"
_TRAILER = "x-infermesh-error"
_TYPES = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid_request_error",
    grpc.StatusCode.FAILED_PRECONDITION: "invalid_request_error",
    grpc.StatusCode.NOT_FOUND: "invalid_request_error",
    grpc.StatusCode.UNAUTHENTICATED: "authentication_error",
    grpc.StatusCode.PERMISSION_DENIED: "permission_error",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "rate_limit_error",
}
# HTTP statuses that no gRPC status stands for.
_EXACT_STATUS = {"REQUEST_TOO_LARGE": "413"}
# Headers of a response have a limit of their own.
_LONGEST_BODY_BYTES = 6000


def openai_error(error: InfermeshError) -> dict[str, object]:
    """The body OpenAI's SDKs expect. `code` is the reason in lower case, or the provider's own
    code when it is the provider that judged the request."""
    kind = _TYPES.get(error.status_code, "server_error")
    code = error.reason.lower()
    if error.reason == "PROVIDER_REJECTED_REQUEST":
        kind = error.metadata.get("provider_type", kind)
        code = error.metadata.get("provider_code", code)
    return {"error": {"message": error.message, "type": kind, "param": error.field, "code": code}}


def error_trailers(call: RequestContext, error: InfermeshError) -> Trailers:
    """Trailing metadata of an error: the body on the OpenAI surface, and `retry-after`."""
    trailers: list[tuple[str, str | bytes]] = []
    if call.method.startswith(SERVICE):
        body = ascii_json(openai_error(error))
        if len(body) > _LONGEST_BODY_BYTES:
            short = {**openai_error(error)}
            short["error"] = {**_inner(short), "message": error.message[:300]}
            body = ascii_json(short)
        trailers.append((_TRAILER, body))
        if error.reason in _EXACT_STATUS:
            trailers.append(("x-infermesh-status", _EXACT_STATUS[error.reason]))
    if error.retry_after_s is not None:
        trailers.append(("retry-after", str(max(1, round(error.retry_after_s)))))
    return tuple(trailers)


def _inner(body: dict[str, object]) -> dict[str, object]:
    inner = body["error"]
    assert isinstance(inner, dict)
    return inner


def ascii_json(value: object) -> str:
    """JSON text that fits into a header: characters outside of ASCII are escaped."""
    text = orjson.dumps(value).decode()
    if text.isascii():
        return text
    return "".join(c if c.isascii() else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
