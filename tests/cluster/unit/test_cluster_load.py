"""Load that counts every failure."""

from __future__ import annotations

import asyncio

import aiohttp
import openai
import pytest

from infermesh_common.testing.servers import eventually
from tests.cluster.load import ConstantLoad, Refused, through_http, through_openai
from tools.simulator.server import Simulator, simulator


async def test_every_request_is_counted_once_and_answers_are_waited_for() -> None:
    answered = asyncio.Event()

    async def send(number: int) -> None:
        await answered.wait()
        if number % 2:
            raise Refused("odd")

    async with ConstantLoad(send, per_second=500, at_most=1000) as load:
        await eventually(lambda: load.report.sent >= 10)
        assert load.report.succeeded == load.report.failed == 0
        answered.set()
    report = load.report
    assert report.succeeded + report.failed == report.sent
    assert report.failures == {"Refused: odd": report.sent // 2}
    assert f"{report.succeeded} of {report.sent} answered" in str(report)
    assert "Refused: odd" in str(report)


async def test_no_more_than_so_many_are_under_way_and_the_rest_is_counted_as_skipped() -> None:
    release = asyncio.Event()
    under_way = 0
    most = 0

    async def send(number: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await release.wait()
        under_way -= 1

    async with ConstantLoad(send, per_second=1000, at_most=3) as load:
        await eventually(lambda: load.report.skipped >= 5)
        release.set()
    assert most == 3


async def test_an_answer_that_does_not_come_is_a_failure() -> None:
    async def send(number: int) -> None:
        await asyncio.Event().wait()

    async with ConstantLoad(send, per_second=100, patience_s=0.01) as load:
        await load.for_requests(2)
    assert load.report.failed >= 2 and load.report.succeeded == 0
    assert all(text.startswith("TimeoutError") for text in load.report.failures)


async def test_waiting_for_requests_has_an_end() -> None:
    async def send(number: int) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with ConstantLoad(send, per_second=100, patience_s=0.1) as load:
            await load.for_requests(10**6, within_s=0.05)


def client(running: Simulator) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="key", max_retries=0)


@pytest.mark.parametrize("stream", [False, True])
async def test_whole_answers_and_streams_of_the_sdk_are_read_to_their_end(stream: bool) -> None:
    async with simulator() as running, client(running) as sdk:
        send = through_openai(sdk, "m", stream=stream)
        async with ConstantLoad(send, per_second=100) as load:
            await load.for_requests(5)
        assert load.report.failed == 0 and load.report.slowest_s > 0
        assert running.counts()["requests"] == load.report.sent


async def test_errors_of_the_sdk_are_failures() -> None:
    async with simulator(
        {"rules": [{"fault": {"name": "status_error", "status": 503}}]}
    ) as running:
        async with client(running) as sdk:
            async with ConstantLoad(through_openai(sdk, "m"), per_second=100) as load:
                await load.for_requests(2)
    assert load.report.succeeded == 0
    assert all(text.startswith("InternalServerError") for text in load.report.failures)


async def test_plain_requests_are_right_with_status_200_only() -> None:
    async with simulator() as running, aiohttp.ClientSession() as session:
        await through_http(session, "GET", f"{running.url}/v1/models")(0)
        with pytest.raises(Refused, match="404"):
            await through_http(session, "POST", f"{running.url}/nothing", {"a": 1})(0)


async def test_a_stream_that_ends_before_its_finish_reason_is_a_failure() -> None:
    script = {"rules": [{"fault": {"name": "trailer_no_finish"}}]}
    async with simulator(script) as running, client(running) as sdk:
        with pytest.raises(Refused, match="finish_reason"):
            await through_openai(sdk, "m", stream=True)(0)
