"""Refusals in Bedrock's form: what went wrong is named in a header, and the status says less.

Source: Amazon Bedrock API reference, "Converse: Errors"; AWS, "Common Errors".
"""

from collections.abc import Mapping

from infermesh_common.errors import InfermeshError
from infermesh_router.adapters.outbound.providers.errors import from_response

_TYPE_HEADER = "x-amzn-errortype"
_MEANT = {
    # A quota is the account's, not the request's.
    "ServiceQuotaExceededException": 429,
    "ThrottlingException": 429,
    "TooManyRequestsException": 429,
    # Comes with 429, and no other key would help.
    "ModelNotReadyException": 503,
    **dict.fromkeys(
        (
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "UnrecognizedClientException",
        ),
        403,
    ),
}
"""The HTTP status that says what is meant."""


def error_of(provider: str, status: int, headers: Mapping[str, str], data: bytes) -> InfermeshError:
    """The error that a response with a status of 300 or more stands for."""
    # With the address of a namespace behind it.
    kind = headers.get(_TYPE_HEADER, "").partition(":")[0]
    error = from_response(provider, _MEANT.get(kind, status), headers, data)
    error.metadata["provider_status"] = str(status)
    if kind:
        error.metadata["provider_type"] = kind[:200]
    return error
