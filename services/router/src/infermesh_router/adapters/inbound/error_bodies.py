"""Errors on the surfaces that have a shape of their own.

Behind Envoy the HTTP status comes from the gRPC status; the body is carried in a trailer.
"""

from collections.abc import Callable

import orjson

from infermesh_common.context import RequestContext
from infermesh_common.errors import InfermeshError
from infermesh_common.rpc.pipeline import Trailers
from infermesh_router.domain.surfaces.anthropic.errors import anthropic_error, is_overload
from infermesh_router.domain.surfaces.openai_errors import openai_error

OPENAI = "/infermesh.router.v1.OpenAIService/"
ANTHROPIC = "/infermesh.router.v1.AnthropicService/"
_BODY, _STATUS = "x-infermesh-error", "x-infermesh-status"
# Headers of a response have a limit of their own.
_LONGEST_BODY_BYTES = 6000
_LONGEST_MESSAGE = 300
Body = dict[str, object]


def error_trailers(call: RequestContext, error: InfermeshError) -> Trailers:
    """Trailing metadata of an error: the body and the exact status where the surface has one, and
    `retry-after`."""
    trailers: list[tuple[str, str | bytes]] = []
    if (shape := _shape(call)) is not None:
        body = ascii_json(shape(error))
        if len(body) > _LONGEST_BODY_BYTES:
            body = ascii_json(_shortened(shape(error)))
        trailers.append((_BODY, body))
        if (status := _exact_status(call, error)) is not None:
            trailers.append((_STATUS, status))
    if error.retry_after_s is not None:
        trailers.append(("retry-after", str(max(1, round(error.retry_after_s)))))
    return tuple(trailers)


def _shape(call: RequestContext) -> Callable[[InfermeshError], Body] | None:
    if call.method.startswith(OPENAI):
        return openai_error
    if call.method.startswith(ANTHROPIC):
        return lambda error: {**anthropic_error(error), "request_id": call.request_id}
    return None


def _exact_status(call: RequestContext, error: InfermeshError) -> str | None:
    """An HTTP status that no gRPC status stands for."""
    if error.reason == "REQUEST_TOO_LARGE":
        return "413"
    if is_overload(error) and call.method.startswith(ANTHROPIC):
        return "529"
    return None


def _shortened(body: Body) -> Body:
    inner = body["error"]
    assert isinstance(inner, dict)
    return {**body, "error": {**inner, "message": inner["message"][:_LONGEST_MESSAGE]}}


def ascii_json(value: object) -> str:
    """JSON text that fits into a header: characters outside of ASCII are escaped."""
    text = orjson.dumps(value).decode()
    if text.isascii():
        return text
    return "".join(c if c.isascii() else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
