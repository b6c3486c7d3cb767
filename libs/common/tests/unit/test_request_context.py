"""The state of a request belongs to its task and says how long it may still take."""

import asyncio
import time

import pytest

from infermesh_common import context as request_context
from infermesh_common.context import (
    RequestContext,
    current,
    current_or_none,
    is_uuid,
    time_budget_s,
)
from infermesh_common.errors import DeadlineExceeded, InvalidArgument, Unauthenticated
from infermesh_common.identity.model import Identity, Role
from infermesh_common.rpc.client import metadata_of, outgoing_metadata

UUID = "0B1E2d3c-1111-4222-8333-444455556666"


def request(remaining_s: float = 60.0, **metadata: str) -> RequestContext:
    named = {name.replace("_", "-"): value for name, value in metadata.items()}
    return RequestContext("/a/B", "id", named, time.monotonic() + remaining_s, 0)


async def in_a_request(call: RequestContext) -> tuple[RequestContext, object]:
    request_context.bind(call)
    await asyncio.sleep(0)
    return current(), outgoing_metadata()


async def test_each_task_sees_its_own_request() -> None:
    calls = [request(x_api_key=str(number)) for number in range(3)]
    seen = await asyncio.gather(*(asyncio.create_task(in_a_request(call)) for call in calls))
    assert [call for call, _ in seen] == calls
    assert [metadata for _, metadata in seen] == [metadata_of(call) for call in calls]
    assert current_or_none() is None


def test_outside_of_a_request_there_is_none() -> None:
    assert current_or_none() is None and outgoing_metadata() == ()
    with pytest.raises(LookupError):
        current()
    assert time_budget_s(1500) == 1.5


async def test_a_stage_gets_its_own_time_out_but_never_more_than_the_deadline_leaves() -> None:
    request_context.bind(request(60))
    assert time_budget_s(1000) == 1
    assert 59 < time_budget_s(120_000) <= 60
    request_context.bind(request(-1))
    assert current().remaining_s() == 0
    with pytest.raises(DeadlineExceeded):
        time_budget_s(1000)


def test_only_what_proves_the_caller_and_the_request_id_is_handed_on() -> None:
    call = request(
        authorization="Bearer x",
        x_api_key="k",
        x_infermesh_internal_token="t",
        x_infermesh_tenant="acme",
        x_infermesh_claimed_tenant="acme",
        cookie="secret",
        user_agent="curl",
        x_request_id="claimed",
    )
    assert dict(metadata_of(call)) == {
        "x-request-id": "id",
        "authorization": "Bearer x",
        "x-api-key": "k",
        "x-infermesh-internal-token": "t",
        "x-infermesh-tenant": "acme",
        "x-infermesh-claimed-tenant": "acme",
    }
    assert metadata_of(request()) == (("x-request-id", "id"),)


def test_an_identity_is_there_or_the_call_is_refused() -> None:
    call = request()
    with pytest.raises(Unauthenticated):
        call.caller()
    call.identity = Identity("acme", "k", Role.MEMBER)
    assert call.caller().tenant == "acme"


def test_a_request_id_out_of_the_message_is_taken_when_it_is_a_uuid() -> None:
    call = request()
    assert call.adopt_request_id(UUID) == UUID.lower() == call.request_id
    for wrong in ("", "x", UUID + "0", UUID.replace("-", ""), f"{{{UUID}}}", UUID + "\n"):
        assert not is_uuid(wrong)
        with pytest.raises(InvalidArgument):
            call.adopt_request_id(wrong)
    assert call.request_id == UUID.lower()
