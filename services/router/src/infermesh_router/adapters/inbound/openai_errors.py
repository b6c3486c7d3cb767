"""Errors on the OpenAI surface.

Behind Envoy the HTTP status comes from the gRPC status; the body is in OpenAI's shape, carried in
a trailer.
"""

import orjson

from infermesh_common.context import RequestContext
from infermesh_common.errors import InfermeshError
from infermesh_common.rpc.pipeline import Trailers
from infermesh_router.domain.surfaces.openai_errors import openai_error

SERVICE = "/infermesh.router.v1.OpenAIService/"
_TRAILER = "x-infermesh-error"
# HTTP statuses that no gRPC status stands for.
_EXACT_STATUS = {"REQUEST_TOO_LARGE": "413"}
# Headers of a response have a limit of their own.
_LONGEST_BODY_BYTES = 6000


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
