"""Fingerprint of a request: equal fingerprints mean one answer serves both.

It covers everything that may change the answer. The tenant is not part of it: the cache service
takes that from the verified identity and never mixes tenants.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import orjson

from infermesh_common.errors import InvalidArgument

# How an answer is delivered and booked, not what it says. Everything else counts, known or not:
# a needless miss is cheaper than a wrong answer.
DELIVERY_FIELDS = frozenset(
    {"model", "stream", "stream_options", "user", "safety_identifier", "prompt_cache_key"}
)
_VERSION = b"infermesh-fingerprint-1"


def fingerprint(
    *, protocol: str, models: Sequence[str], body: Mapping[str, object], epoch: int
) -> bytes:
    """SHA-256, 32 bytes, of a request in canonical form.

    Args:
        protocol: surface the answer is a body of, for example "openai.chat".
        models: Model resources whose answer the caller accepts; order does not matter.
        body: the request body; `DELIVERY_FIELDS` are left out.
        epoch: the policy's cache epoch.

    Raises:
        InvalidArgument: REQUEST_NOT_CANONICAL, the body is nested too deeply or is not JSON.
    """
    relevant = {name: value for name, value in body.items() if name not in DELIVERY_FIELDS}
    try:
        canonical = orjson.dumps(
            [protocol, sorted(set(models)), epoch, relevant], option=orjson.OPT_SORT_KEYS
        )
    except TypeError as error:  # orjson.JSONEncodeError
        raise InvalidArgument(
            "REQUEST_NOT_CANONICAL",
            "The request is nested too deeply, or holds what JSON does not.",
        ) from error
    if b"null" in canonical and not _is_finite(relevant):
        # NaN and the infinities are written as null: three requests, one text.
        raise InvalidArgument(
            "REQUEST_NOT_CANONICAL", "The request holds a number that is not one."
        )
    return hashlib.sha256(_VERSION + canonical).digest()


def _is_finite(body: object) -> bool:
    """Whether every number in `body` is finite; its depth was checked by the encoder."""
    if isinstance(body, float):
        return math.isfinite(body)
    if isinstance(body, Mapping):
        return all(map(_is_finite, body.values()))
    if isinstance(body, (list, tuple)):
        return all(map(_is_finite, body))
    return True
