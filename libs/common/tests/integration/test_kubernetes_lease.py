"""At most one process leads, and another takes over when it is gone."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

from infermesh_common.kubernetes.lease import Leadership, LeaseTiming
from infermesh_common.kubernetes.testing.api_server import FakeApiServer
from infermesh_common.kubernetes.testing.wire import ApiError
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.servers import eventually

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Running = Callable[..., AbstractAsyncContextManager[list[asyncio.Task[None]]]]
QUICK = LeaseTiming(lasts_s=1, renew_within_s=0.5, retry_s=0.05)


class Candidate:
    """A process that would lead."""

    def __init__(self, client: "ApiClient") -> None:
        self.metrics = Metrics()
        self.leadership = Leadership(client, "mesh", "writer", self.metrics, timing=QUICK)
        self.leads = False
        self.terms = 0

    async def lead(self) -> None:
        self.leads = True
        self.terms += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.leads = False

    async def run(self) -> None:
        await self.leadership.run(self.lead)

    @property
    def shown(self) -> bool:
        return self.metrics.sample("infermesh_kubernetes_leader", {"lease": "writer"}) == 1


@pytest.fixture
def first(api_client: "ApiClient") -> Candidate:
    return Candidate(api_client)


@pytest.fixture
def second(api_client: "ApiClient") -> Candidate:
    return Candidate(api_client)


def spec(api: FakeApiServer) -> dict[str, object]:
    found: dict[str, object] = api.get("leases", "writer")["spec"]
    return found


async def test_one_leads_and_the_next_takes_over_as_soon_as_it_ends(
    api: FakeApiServer, first: Candidate, second: Candidate, running: Running
) -> None:
    async with running(first.run()):
        await eventually(lambda: first.leads)
        assert spec(api)["holderIdentity"] == first.leadership.identity
        async with running(second.run()):
            renewed = spec(api)["renewTime"]
            await eventually(lambda: spec(api)["renewTime"] != renewed)
            assert first.leads and first.shown and not second.leads and not second.shown
    assert not first.leads and not first.shown
    assert spec(api)["holderIdentity"] == ""
    async with running(second.run()):
        await eventually(lambda: second.leads)
    assert spec(api)["leaseTransitions"] == 1


async def test_a_lease_that_is_no_longer_renewed_is_taken(
    api: FakeApiServer, first: Candidate, second: Candidate, running: Running
) -> None:
    async with running(first.run()):
        await eventually(lambda: first.leads)
    api.put("leases", {**api.get("leases", "writer"), "spec": {"holderIdentity": "gone"}})
    async with running(second.run()):
        # Not before it has been seen unchanged for as long as it lasts.
        await eventually(lambda: sum(r.path.endswith("/writer") for r in api.requests) > 6)
        assert spec(api)["holderIdentity"] == "gone"
        await eventually(lambda: second.leads)
    assert second.terms == 1


async def test_who_cannot_renew_stops_leading_and_leads_again_later(
    api: FakeApiServer, first: Candidate, running: Running
) -> None:
    async with running(first.run()):
        await eventually(lambda: first.leads)
        api.stop()
        await eventually(lambda: not first.leads)
        assert not first.shown
        api.start()
        await eventually(lambda: first.leads)
        assert first.terms == 2


async def test_a_lease_taken_by_another_ends_the_term(
    api: FakeApiServer, first: Candidate, running: Running
) -> None:
    async with running(first.run()):
        await eventually(lambda: first.leads)
        taken = {**spec(api), "holderIdentity": "another", "leaseDurationSeconds": 3600}
        api.refuse = lambda request: ApiError(409, "Conflict") if request.method == "PUT" else None
        api.put("leases", {**api.get("leases", "writer"), "spec": taken})
        await eventually(lambda: not first.leads)
    assert spec(api)["holderIdentity"] == "another"


async def test_two_that_try_at_once_do_not_both_lead(
    api: FakeApiServer, first: Candidate, second: Candidate, running: Running
) -> None:
    async with running(first.run(), second.run()):
        await eventually(lambda: first.leads or second.leads)
        begun = len(api.requests)
        await eventually(lambda: len(api.requests) > begun + 20)
        assert first.leads != second.leads
        assert first.terms + second.terms == 1


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refusal_is_no_leadership(
    api: FakeApiServer, first: Candidate, running: Running, status: int
) -> None:
    api.refuse = lambda request: ApiError(status, "Refused")
    async with running(first.run()):
        await eventually(lambda: len(api.requests) > 2)
        assert not first.leads
        api.refuse = lambda request: None
        await eventually(lambda: first.leads)


async def test_work_that_fails_gives_the_lease_up(
    api: FakeApiServer, first: Candidate, running: Running
) -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await first.leadership.run(fail)
    assert spec(api)["holderIdentity"] == ""
    assert not first.shown


async def test_work_that_ends_is_begun_again(api: FakeApiServer, first: Candidate) -> None:
    terms: list[int] = []

    async def work() -> None:
        terms.append(1)

    task = asyncio.create_task(first.leadership.run(work))
    await eventually(lambda: len(terms) >= 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert spec(api)["holderIdentity"] == ""


async def test_the_end_does_not_wait_for_an_api_server_that_is_away(
    api: FakeApiServer, first: Candidate, running: Running
) -> None:
    async with running(first.run()):
        await eventually(lambda: first.leads)
        api.stop()
    assert not first.leads
