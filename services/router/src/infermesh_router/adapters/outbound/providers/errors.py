"""What a provider's failure means for the client.

Our key, our quota and the provider's health are not the client's fault; what the provider says of
the request itself is passed on.
"""

from collections.abc import Mapping

import orjson

from infermesh_common.errors import (
    InfermeshError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

_LONGEST_RETRY_S = 3600.0


def from_response(
    provider: str, status: int, headers: Mapping[str, str], body: bytes
) -> InfermeshError:
    """The error that an HTTP response with a status of 400 or more stands for."""
    metadata = {"provider": provider, "provider_status": str(status)}
    message = _describe(body, metadata)
    if status in (401, 403):
        return Unavailable(
            "PROVIDER_REFUSED_CREDENTIALS",
            f"The provider {provider} refuses the mesh's credentials.",
            metadata=metadata,
        )
    if status == 429:
        return ResourceExhausted(
            "PROVIDER_RATE_LIMITED",
            f"The provider {provider} limits the rate: {message}",
            metadata=metadata,
            retry_after_s=_retry_after_s(headers),
        )
    if status == 404:
        return NotFound("PROVIDER_NOT_FOUND", f"{provider}: {message}", metadata=metadata)
    if 400 <= status < 500 and status not in (408, 409, 425):
        return InvalidArgument(
            "PROVIDER_REJECTED_REQUEST",
            message,
            metadata=metadata,
            field=metadata.get("provider_param"),
        )
    return Unavailable(
        "PROVIDER_FAILED",
        f"The provider {provider} failed with status {status}.",
        metadata=metadata,
        retry_after_s=_retry_after_s(headers),
    )


def _describe(body: bytes, metadata: dict[str, str]) -> str:
    """The message of an OpenAI-shaped error body; its code, type and param go into `metadata`."""
    try:
        error = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "no reason given"
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    if not isinstance(error, dict):
        return "no reason given"
    for name in ("code", "type", "param"):
        if isinstance(error.get(name), str):
            metadata[f"provider_{name}"] = error[name][:200]
    message = error.get("message")
    return message if isinstance(message, str) and message else "no reason given"


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds in Retry-After; the form with a date is left out, as clocks differ."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= _LONGEST_RETRY_S else None
