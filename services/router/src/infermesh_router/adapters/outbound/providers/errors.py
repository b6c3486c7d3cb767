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
_LONGEST_FACT = 200
_NO_WORDS = "no reason given"


def from_response(
    provider: str, status: int, headers: Mapping[str, str], body: bytes
) -> InfermeshError:
    """The error that an HTTP response with a status of 300 or more stands for."""
    metadata = {"provider": provider, "provider_status": str(status)}
    message = _message(_parsed(body), metadata)
    if status in (401, 402, 403):
        # Without the provider's words: some repeat the key in them.
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
    if 400 <= status < 500 and status not in (408, 409, 424, 425):
        return InvalidArgument(
            "PROVIDER_REJECTED_REQUEST",
            message,
            metadata=metadata,
            field=metadata.get("provider_param"),
        )
    return Unavailable(
        "PROVIDER_FAILED",
        f"The provider {provider} failed with status {status}: {message}",
        metadata=metadata,
        retry_after_s=_retry_after_s(headers),
    )


def reported(error: object) -> Unavailable:
    """The error that a provider reports in the middle of a stream, or with a status that says
    success. `error` is what it sent: an object, or its text."""
    metadata: dict[str, str] = {}
    return Unavailable(
        "PROVIDER_FAILED",
        f"The provider reported an error: {_message(error, metadata)}",
        metadata=metadata,
    )


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _message(error: object, metadata: dict[str, str]) -> str:
    """The words of an error body; its code, type and param go into `metadata`.

    Known forms: {"error": {"message"}} (most), {"error": "..."} (Ollama), {"message"} (Mistral,
    vLLM, AWS), {"detail": ...} (FastAPI), and lists of one of them (Google's streams).
    """
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, dict) and error.get("error"):
        error = error["error"]
    if not isinstance(error, dict):
        return error if isinstance(error, str) and error else _NO_WORDS
    for name in ("code", "type", "param"):
        value = error.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            metadata[f"provider_{name}"] = str(value)[:_LONGEST_FACT]
    if isinstance(error.get("status"), str):
        # Google's codes are numbers, and this is their name.
        metadata["provider_code"] = error["status"][:_LONGEST_FACT]
    for name in ("message", "Message", "detail"):
        value = error.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, (list, dict)) and value:
            return orjson.dumps(value).decode()
    return _NO_WORDS


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds in Retry-After; the form with a date is left out, as clocks differ."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= _LONGEST_RETRY_S else None
