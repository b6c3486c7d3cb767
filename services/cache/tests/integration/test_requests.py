"""What is wrong with a request is refused, by its field."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import duration_pb2

from infermesh.cache.v1 import cache_pb2
from infermesh.common.v1 import usage_pb2

if TYPE_CHECKING:
    from services.cache.tests.conftest import Caller, Replica

    Stub = Callable[[Caller], Awaitable[object]]

Reason = Callable[[grpc.aio.AioRpcError], str]
PRINT = b"f" * 32


def lookup(request: cache_pb2.LookupRequest) -> Stub:
    return lambda c: c.stub.Lookup(request, metadata=c.metadata)


def invalidate(request: cache_pb2.InvalidateRequest) -> Stub:
    return lambda c: c.stub.Invalidate(request, metadata=c.metadata)


NEGATIVE = duration_pb2.Duration(seconds=-1)
REFUSED: list[tuple[str, Stub, str]] = [
    ("short fingerprint", lambda c: c.lookup(b"f" * 31), "FINGERPRINT_INVALID/fingerprint"),
    ("long fingerprint", lambda c: c.store(b"f" * 33), "FINGERPRINT_INVALID/fingerprint"),
    ("no fingerprint", lambda c: c.renew(b"", "t"), "FINGERPRINT_INVALID/fingerprint"),
    (
        "negative age",
        lookup(cache_pb2.LookupRequest(fingerprint=PRINT, max_age=NEGATIVE)),
        "DURATION_INVALID/max_age",
    ),
    (
        "negative wait",
        lookup(cache_pb2.LookupRequest(fingerprint=PRINT, wait=NEGATIVE)),
        "DURATION_INVALID/wait",
    ),
    ("no ttl", lambda c: c.store("q", ttl_s=0), "TTL_INVALID/ttl"),
    ("negative ttl", lambda c: c.store("q", ttl_s=-1), "TTL_INVALID/ttl"),
    ("no body", lambda c: c.store("q", b""), "BODY_EMPTY/entry.body"),
    ("no model", lambda c: c.store("q", model=""), "NAME_INVALID/entry.model"),
    ("long model", lambda c: c.store("q", model="m" * 254), "NAME_INVALID/entry.model"),
    ("unclean model", lambda c: c.store("q", model="a\nb"), "NAME_INVALID/entry.model"),
    ("long provider", lambda c: c.store("q", provider="p" * 254), "NAME_INVALID/entry.provider"),
    ("empty tag", lambda c: c.store("q", tags=("a", "")), "TAG_INVALID/entry.tags"),
    ("long tag", lambda c: c.store("q", tags=("t" * 129,)), "TAG_INVALID/entry.tags"),
    (
        "many tags",
        lambda c: c.store("q", tags=tuple(f"t{n}" for n in range(33))),
        "TAGS_TOO_MANY/entry.tags",
    ),
    (
        "negative usage",
        lambda c: c.store("q", usage=usage_pb2.TokenUsage(output_tokens=-1)),
        "USAGE_INVALID/entry.usage",
    ),
    ("long token", lambda c: c.store("q", token="t" * 65), "LEASE_TOKEN_INVALID/lease_token"),
    ("renew nothing", lambda c: c.renew("q", ""), "LEASE_TOKEN_INVALID/lease_token"),
    ("release nothing", lambda c: c.release("q", ""), "LEASE_TOKEN_INVALID/lease_token"),
    ("no selector", invalidate(cache_pb2.InvalidateRequest()), "SELECTOR_MISSING/selector"),
    ("not all", invalidate(cache_pb2.InvalidateRequest(all=False)), "SELECTOR_MISSING/selector"),
    ("empty model", lambda c: c.invalidate("model"), "NAME_INVALID/model"),
    ("empty tag selected", lambda c: c.invalidate("tag"), "TAG_INVALID/tag"),
    (
        "not hexadecimal",
        invalidate(cache_pb2.InvalidateRequest(fingerprint="zz")),
        "FINGERPRINT_INVALID/fingerprint",
    ),
    (
        "too few digits",
        invalidate(cache_pb2.InvalidateRequest(fingerprint="ff")),
        "FINGERPRINT_INVALID/fingerprint",
    ),
]


@pytest.mark.parametrize(
    ("request_", "refusal"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
async def test_a_wrong_request_is_refused_by_its_field(
    replica: Replica, reason_of: Reason, request_: Stub, refusal: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await request_(replica.caller())
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error.value) == refusal


async def test_the_largest_valid_request_is_taken(replica: Replica) -> None:
    caller = replica.caller()
    tags = tuple(f"{n:0128}" for n in range(32))
    assert (await caller.store("q", model="m" * 253, provider="", tags=tags, ttl_s=1e9)).stored
    assert tuple((await caller.lookup("q")).hit.tags) == tags
    # A tag given twice is one tag.
    assert (await caller.store("q", tags=("t", "t"))).stored
    assert list((await caller.lookup("q")).hit.tags) == ["t"]


async def test_who_is_not_known_is_refused(replica: Replica) -> None:
    caller = replica.caller()
    caller.metadata = ()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await caller.lookup("q")
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
