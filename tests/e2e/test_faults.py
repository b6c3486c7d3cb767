"""What the mesh promises when its parts fail, each test named by the promise."""

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import psutil
import pytest

import infermesh

pytestmark = pytest.mark.timeout(240)


def ask(client, question, **more):
    return client.chat.completions.with_raw_response.create(
        model="scripted", messages=[{"role": "user", "content": question}], **more
    )


def eventually(condition, what, within_s=60.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {within_s} s: {what}"
        threading.Event().wait(0.05)


def cache_works(client, question):
    """A repeated question is served from the cache."""
    ask(client, question)
    return ask(client, question).headers["x-infermesh-cache"] == "hit"


@pytest.mark.parametrize("fault", ["paused", "stopped"])
def test_requests_are_answered_without_redis_and_the_breaker_opens_and_closes(
    mesh, upstream, unique, fault
):
    client = mesh.openai()
    eventually(lambda: cache_works(client, f"{unique} before"), "the cache works")
    redis = psutil.Process(mesh.pid("redis"))
    if fault == "paused":
        redis.suspend()
    else:
        mesh.stop_process("redis")
    try:
        states = set()
        for n in range(12):
            answer = ask(client, f"{unique} {n}")
            assert answer.headers["x-infermesh-cache"] == "unavailable"
            assert answer.parse().choices[0].message.content == "Paris."
            states.add(mesh.breaker("cache"))
        assert 2 in states, "the breaker never opened"
    finally:
        if fault == "paused":
            redis.resume()
        else:
            mesh.start_process("redis")
    eventually(lambda: cache_works(client, f"{unique} after"), "the cache works again")
    assert mesh.breaker("cache") == 0


@pytest.mark.parametrize("service", ["analytics", "router", "cache", "governance"])
def test_a_killed_service_loses_no_acknowledged_event_and_counts_none_twice(
    mesh, upstream, unique, service
):
    client = mesh.openai("acme")
    tag = unique
    answered: list[str] = []
    for n in range(60):
        if n == 30:
            # What the stream has acknowledged must survive; a router may hold its last events.
            eventually(lambda: mesh.events_queued() == 0, "events acknowledged")
            psutil.Process(mesh.pid(service)).send_signal(signal.SIGKILL)
        try:
            answer = ask(client, f"{unique} {n // 2}", extra_headers={"x-infermesh-tags": tag})
            answered.append(answer.headers["x-infermesh-decision-id"])
        except openai.APIError:
            mesh.wait_ready()
    assert len(answered) >= 50
    mesh.wait_ready()

    def ledger():
        with mesh.client("acme") as own:
            return [event.event_id for event in own.events(infermesh.UsageFilter(tag=tag))]

    eventually(lambda: set(answered) <= set(ledger()), "every answer in the ledger")
    recorded = ledger()
    assert len(recorded) == len(set(recorded))
    with mesh.client("acme") as own:
        (total,) = own.usage(filter=infermesh.UsageFilter(tag=tag))
        assert total.requests + total.failures == len(recorded)


def test_sigterm_drains_with_zero_failed_requests(mesh, upstream, unique):
    release = threading.Event()

    async def wait(request, body):
        await asyncio.to_thread(release.wait)
        return await upstream.answer(request, body)

    upstream.handler = wait
    client = mesh.openai()
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(lambda n=n: ask(client, f"{unique} {n}", stream=bool(n % 2)))
            for n in range(8)
        ]
        eventually(lambda: len(upstream.requests) == 8, "all calls are under way")
        before = mesh.pid("router")
        psutil.Process(before).terminate()
        eventually(lambda: mesh.health_of("router") != "SERVING", "the router drains")
        release.set()
        answers = [call.result(60) for call in calls]
    assert all(answer.http_response.status_code == 200 for answer in answers)
    eventually(lambda: mesh.pid("router") not in (0, before), "the router is back")
    mesh.wait_ready()


def test_events_made_while_redis_is_away_reach_the_ledger(mesh, upstream, unique):
    client = mesh.openai("acme")
    redis = psutil.Process(mesh.pid("redis"))
    redis.suspend()
    try:
        ids = {
            ask(client, f"{unique} {n}", extra_headers={"x-infermesh-tags": unique}).headers[
                "x-infermesh-decision-id"
            ]
            for n in range(5)
        }
    finally:
        redis.resume()

    def recorded():
        with mesh.client("acme") as own:
            return {event.event_id for event in own.events(infermesh.UsageFilter(tag=unique))}

    eventually(lambda: recorded() == ids, "all events in the ledger")
    eventually(lambda: cache_works(client, f"{unique} after"), "the cache works again")
