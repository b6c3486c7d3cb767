"""What surfaces have of the cache: sharing, leases, controls, and what is never stored."""

import asyncio

import grpc
import pytest
from aiohttp import web

from infermesh.analytics.v1 import events_pb2
from infermesh.router.v1 import operations_pb2
from infermesh_common.testing.resources import resource
from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import chunks, completion, failing, sse


async def test_n_identical_concurrent_requests_make_one_upstream_call(mesh):
    release = asyncio.Event()

    async def wait(request, body):
        await release.wait()
        return await mesh.upstream.answer(request, body)

    mesh.upstream.handler = wait
    burst = [asyncio.create_task(mesh.chat(stream=n % 2 == 0)) for n in range(8)]
    await eventually(lambda: mesh.cache.lookups >= 8)
    release.set()
    replies = await asyncio.gather(*burst)
    assert len(mesh.upstream.requests) == 1
    statuses = sorted(reply.headers["x-infermesh-cache"] for reply in replies)
    assert statuses.count("miss") == 1
    assert statuses.count("shared") + statuses.count("hit") == 7


async def test_the_leaders_failure_is_not_shared_as_an_answer(mesh):
    release = asyncio.Event()

    async def fail_first(request, body):
        if len(mesh.upstream.requests) == 1:
            await release.wait()
            return await failing(400, {"message": "no"})(request, body)
        return await mesh.upstream.answer(request, body)

    mesh.upstream.handler = fail_first
    burst = [asyncio.create_task(mesh.chat()) for _ in range(4)]
    await eventually(lambda: mesh.cache.lookups >= 4)
    release.set()
    results = await asyncio.gather(*burst, return_exceptions=True)
    failed = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert [error.code() for error in failed] == [grpc.StatusCode.INVALID_ARGUMENT]
    assert len(mesh.upstream.requests) == 2


async def test_a_lease_is_renewed_while_the_model_works_and_given_up_when_it_fails(mesh):
    mesh.cache.lease_ttl_s = 0.06

    async def slow(request, body):
        await eventually(lambda: mesh.cache.renewals >= 3)
        return await failing(400, {"message": "no"})(request, body)

    mesh.upstream.handler = slow
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.chat()
    await eventually(lambda: not mesh.cache.flights)


async def test_two_tenants_never_share_an_answer(mesh):
    await mesh.chat()
    reply = await mesh.chat(api_key=mesh.governance.issue("globex"))
    assert reply.headers["x-infermesh-cache"] == "miss"
    assert len(mesh.upstream.requests) == 2


@pytest.mark.parametrize(
    ("control", "status", "calls"),
    [
        ("bypass", "bypass", 2),
        ("refresh", "refresh", 2),
        ("only-if-cached", "hit", 1),
        ("max-age=3600", "hit", 1),
    ],
)
async def test_request_controls_rule_the_cache(mesh, control, status, calls):
    await mesh.chat()
    reply = await mesh.chat(headers={"x-infermesh-cache": control})
    assert reply.headers["x-infermesh-cache"] == status
    assert len(mesh.upstream.requests) == calls


async def test_only_if_cached_without_an_entry_calls_nobody(mesh, reason_of):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.chat(headers={"x-infermesh-cache": "only-if-cached"})
    assert reason_of(caught.value) == "CACHE_MISS"
    assert not mesh.upstream.requests
    event = await mesh.event()
    assert (event.outcome, event.decision.cost.amount) == (events_pb2.OUTCOME_FAILED, "0")


@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
@pytest.mark.parametrize("stream", [True, False])
async def test_truncated_and_filtered_answers_are_not_stored(mesh, finish_reason, stream):
    async def cut(request, body):
        if body.get("stream"):
            events = [*map(sse, chunks(finish_reason=finish_reason)), b"data: [DONE]\n\n"]
            return await mesh.upstream.stream(request, events)
        return web.json_response(completion(finish_reason=finish_reason))

    mesh.upstream.handler = cut
    await mesh.chat(stream=stream)
    assert not mesh.cache.entries
    event = await mesh.event()
    assert event.decision.store_outcome == f"finish_reason is {finish_reason}"


async def test_no_store_and_hot_requests_are_not_stored(mesh):
    await mesh.chat(headers={"x-infermesh-cache": "no-store"})
    reply = await mesh.chat(temperature=1.5)
    assert reply.headers["x-infermesh-cache"] == "ineligible"
    assert not mesh.cache.entries


async def test_a_cache_that_is_down_or_stuck_never_fails_a_request(mesh):
    mesh.cache.down = True
    for _ in range(4):
        reply = await mesh.chat()
        assert reply.headers["x-infermesh-cache"] == "unavailable"
    mesh.cache.down = False
    mesh.cache.stuck = True
    assert (await mesh.chat()).headers["x-infermesh-cache"] == "unavailable"
    mesh.cache.stuck = False

    async def recovered() -> bool:
        return (await mesh.chat()).headers["x-infermesh-cache"] in ("miss", "hit")

    await eventually(recovered)


async def test_a_request_that_stopped_waiting_asks_the_model_and_leaves_the_entry_to_the_leader(
    mesh,
):
    release = asyncio.Event()

    async def first_waits(request, body):
        if len(mesh.upstream.requests) == 1:
            await release.wait()
        return await mesh.upstream.answer(request, body)

    async def revision():
        health = await mesh.operations.GetHealth(operations_pb2.GetHealthRequest())
        return health.configuration_revision

    before = await revision()
    mesh.declare(resource("CachePolicy", "default", singleFlightWaitMs=100))

    async def policy_in_force():
        return await revision() != before

    await eventually(policy_in_force)
    mesh.upstream.handler = first_waits
    leader = asyncio.create_task(mesh.chat())
    await eventually(lambda: len(mesh.upstream.requests) == 1)
    assert (await mesh.chat()).headers["x-infermesh-cache"] == "miss"
    assert not mesh.cache.entries
    release.set()
    await leader
    assert len(mesh.cache.entries) == 1
