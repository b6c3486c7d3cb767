"""Refusals in Google's form. Source: google.rpc.Status, "Gemini API: troubleshooting"."""

import re
from collections.abc import Mapping

import orjson

from infermesh_common.errors import InfermeshError
from infermesh_router.adapters.outbound.providers.errors import from_response

_BAD_REQUEST = 400
_FORBIDDEN = 403
_RETRY_INFO = "google.rpc.RetryInfo"
_DURATION = re.compile(r"(\d{1,7}(?:\.\d{1,9})?)s")


def error_of(provider: str, status: int, headers: Mapping[str, str], data: bytes) -> InfermeshError:
    """The error that a response with a status of 300 or more stands for."""
    said = _status_in(data)
    details = _details(said)
    # A key that is none, and a project without billing, are told as if the request were wrong.
    ours = said.get("status") == "FAILED_PRECONDITION" or any(
        detail.get("reason") == "API_KEY_INVALID" for detail in details
    )
    meant = _FORBIDDEN if status == _BAD_REQUEST and ours else status
    error = from_response(provider, meant, headers, data)
    error.metadata["provider_status"] = str(status)
    if error.retry_after_s is None:
        error.retry_after_s = _retry_delay_s(details)
    return error


def _status_in(data: bytes) -> Mapping[str, object]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    # Refused streams are lists.
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {}


def _details(said: Mapping[str, object]) -> list[Mapping[str, object]]:
    details = said.get("details")
    if not isinstance(details, list):
        return []
    return [detail for detail in details if isinstance(detail, dict)]


def _retry_delay_s(details: list[Mapping[str, object]]) -> float | None:
    for detail in details:
        if str(detail.get("@type")).endswith(_RETRY_INFO):
            match = _DURATION.fullmatch(str(detail.get("retryDelay")))
            return float(match[1]) if match else None
    return None
