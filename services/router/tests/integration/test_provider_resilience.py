"""Keys, hedges, connections and breakers of real providers over real HTTP."""

import asyncio
from collections import Counter

import pytest

from infermesh_common.errors import InfermeshError, ResourceExhausted, Unavailable
from infermesh_common.testing.servers import eventually
from infermesh_common.testing.upstream import chunks, sse

both = pytest.mark.parametrize("stream", [False, True])


def answers(data):
    """Always the same bytes; the connection stays."""

    async def behave(reader, writer):
        writer.write(data)

    return behave


def refusal(status, **headers):
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    body = b'{"error": {"message": "no"}}'
    return f"HTTP/1.1 {status}\r\n{named}content-length: {len(body)}\r\n\r\n".encode() + body


def by_key(models, **behaviours):
    """Does for each key what is said, and answers for the others."""
    proper = models.upstream.proper

    async def behave(reader, writer):
        behaviour = behaviours.get(models.upstream.keys[-1].replace("-", "_"))
        if behaviour is None:
            writer.write(proper(models.upstream.requests[-1]))
        else:
            await behaviour(reader, writer)

    models.upstream.script["upstream-a"] = models.upstream.script["upstream-b"] = behave


@pytest.fixture
def keyed(models, tmp_path):
    """The first provider with keys key-0 (three of four calls) and key-1."""
    keys = []
    for number, weight in enumerate((3, 1)):
        path = tmp_path / f"key-{number}"
        path.write_text(f"key-{number}")
        keys.append({"secret": {"file": str(path)}, "weight": weight})
    models.declare(keys=keys)
    return models


async def hangs(reader, writer):
    await reader.read()


async def failure(models, *chain, stream=False):
    with pytest.raises(InfermeshError) as caught:
        await models.ask(*chain, stream=stream)
    return caught.value


async def test_keys_take_calls_by_weight(keyed):
    for number in range(8):
        await keyed.ask("a", stream=bool(number % 2))
    assert Counter(keyed.upstream.keys) == {"key-0": 6, "key-1": 2}


@both
@pytest.mark.parametrize("status", ["429 Slow", "401 No", "403 No"])
async def test_a_refused_key_rests_and_the_next_key_answers(keyed, stream, status):
    by_key(keyed, key_0=answers(refusal(status, retry_after="60")))
    assert await keyed.ask("a", "c", stream=stream) == "Paris."
    assert keyed.upstream.keys == ["key-0", "key-1"] and not keyed.other.requests
    for _ in range(3):
        await keyed.ask("a", stream=stream)
    assert keyed.upstream.keys[2:] == ["key-1"] * 3


@both
async def test_when_every_key_rests_the_provider_is_passed_over_without_a_call(keyed, stream):
    limited = answers(refusal("429 Slow", retry_after="60"))
    by_key(keyed, key_0=limited, key_1=limited)
    error = await failure(keyed, "a", stream=stream)
    assert (error.reason, error.retry_after_s) == ("PROVIDER_RATE_LIMITED", 60)
    assert len(keyed.upstream.requests) == 2
    error = await failure(keyed, "a", stream=stream)
    assert isinstance(error, ResourceExhausted) and error.reason == "PROVIDER_KEYS_COOLING"
    assert 0 < error.retry_after_s <= 60
    keyed.decision.settle_failure()
    assert keyed.decision.cost == 0, "nobody was called"
    assert await keyed.ask("a", "c", stream=stream) == "Paris."
    assert len(keyed.upstream.requests) == 2
    assert keyed.decision.fallbacks == ["a: PROVIDER_KEYS_COOLING"]


async def test_a_limit_of_one_model_leaves_the_other_models_of_the_provider_alone(models):
    models.upstream.script["upstream-a"] = answers(refusal("429 Slow", retry_after="60"))
    assert await models.ask("a", "b", stream=False) == "Paris."
    assert await models.ask("b", stream=False) == "Paris."


async def test_an_answer_that_uses_up_the_limit_lets_its_key_rest(keyed):
    spent = keyed.upstream.whole(
        x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="1m0s"
    )
    by_key(keyed, key_0=answers(spent))
    for _ in range(4):
        assert await keyed.ask("a", stream=False) == "Paris."
    assert keyed.upstream.keys == ["key-0", "key-1", "key-1", "key-1"]


async def test_neither_limits_nor_refused_keys_open_the_breaker(keyed):
    refused = answers(refusal("401 No"))
    by_key(keyed, key_0=refused, key_1=refused)
    for _ in range(60):
        assert (await failure(keyed, "a")).reason == "PROVIDER_REFUSED_CREDENTIALS"
    labels = {"dependency": "provider-one"}
    assert keyed.metrics.sample("infermesh_breaker_state", labels) == 0
    assert len(keyed.upstream.requests) == 2


async def test_calls_that_were_given_up_do_not_open_the_breaker(models):
    models.upstream.script["upstream-a"] = hangs
    for number in range(60):
        task = asyncio.create_task(models.ask("a", stream=bool(number % 2)))
        await eventually(lambda: len(models.upstream.requests) == number + 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await models.ask("b", stream=False)
    labels = {"dependency": "provider-one"}
    assert models.metrics.sample("infermesh_breaker_state", labels) == 0


async def test_a_provider_that_hangs_before_its_first_token_opens_its_breaker(models):
    role = sse(chunks()[0])
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

    async def accepts_and_hangs(reader, writer):
        writer.write(head + b"%x\r\n%s\r\n" % (len(role), role))
        await reader.read()

    models.upstream.script["upstream-a"] = accepts_and_hangs
    limits = {"connectMs": 300, "firstTokenMs": 20, "totalMs": 900}
    models.declare(timeouts=limits)
    for _ in range(50):
        assert (await failure(models, "a", stream=True)).reason == "PROVIDER_ONE_TIMEOUT"
    assert (await failure(models, "a", stream=True)).reason == "PROVIDER_ONE_CIRCUIT_OPEN"
    assert await models.ask("a", "c", stream=True) == "Paris."
    assert models.decision.fallbacks == ["a: PROVIDER_ONE_CIRCUIT_OPEN"]


@both
async def test_calls_one_after_the_other_use_one_connection(models, stream):
    for _ in range(20):
        assert await models.ask("a", stream=stream) == "Paris."
    assert models.upstream.accepted == 1


async def test_a_stream_whose_end_comes_late_is_used_again_and_its_client_does_not_wait(models):
    last = asyncio.Event()

    async def ends_late(reader, writer):
        whole = models.upstream.proper({"stream": True})
        end = b"0\r\n\r\n"
        assert whole.endswith(end)
        writer.write(whole.removesuffix(end))
        await last.wait()
        writer.write(end)

    models.upstream.script["upstream-a"] = ends_late
    assert await models.ask("a", stream=True) == "Paris.", "the client has its answer"
    last.set()
    await asyncio.sleep(0)
    del models.upstream.script["upstream-a"]

    async def used_again():
        before = models.upstream.accepted
        await models.ask("a", stream=True)
        return models.upstream.accepted == before

    await eventually(used_again)


async def test_a_stream_that_never_ends_after_its_last_event_does_not_keep_its_connection(models):
    async def never_ends(reader, writer):
        writer.write(models.upstream.proper({"stream": True}).removesuffix(b"0\r\n\r\n"))
        await reader.read()

    models.upstream.script["upstream-a"] = never_ends
    assert await models.ask("a", stream=True) == "Paris."
    await eventually(lambda: models.upstream.open == 0)


@both
async def test_a_connection_that_was_idle_too_long_is_made_anew(models, stream):
    dropped = []

    async def drops_the_second(reader, writer):
        if len(models.upstream.requests) == 2:
            dropped.append(True)
            writer.transport.abort()
            return
        writer.write(models.upstream.proper(models.upstream.requests[-1]))

    models.upstream.script["upstream-a"] = drops_the_second
    for _ in range(2):
        assert await models.ask("a", "c", stream=stream) == "Paris."
    assert dropped and models.upstream.accepted == 2 and not models.other.requests
    assert models.decision.model == "a"


@both
async def test_a_hedge_wins_and_the_losers_connection_is_closed(models, stream):
    models.declare(timeouts={"totalMs": 60_000})
    models.upstream.script["upstream-a"] = hangs
    assert await models.ask("a", "c", stream=stream, hedge_ms=5) == "Paris."
    assert models.decision.model == "c"
    (told,) = models.decision.fallbacks
    assert told.startswith("a: cancelled") and told.endswith("is not known")
    await eventually(lambda: models.upstream.open == 0)
    assert models.other.open == 1


@both
async def test_a_hedge_that_loses_is_closed_too(models, stream):
    models.declare(timeouts={"totalMs": 60_000})
    models.other.script["upstream-c"] = hangs

    async def waits_for_the_hedge(reader, writer):
        await eventually(lambda: bool(models.other.requests))
        writer.write(models.upstream.proper({"stream": stream}))

    models.upstream.script["upstream-a"] = waits_for_the_hedge
    assert await models.ask("a", "c", stream=stream, hedge_ms=5) == "Paris."
    assert models.decision.model == "a" and len(models.other.requests) == 1
    await eventually(lambda: models.other.open == 0)


async def test_a_missing_key_is_passed_over_without_a_call(models, tmp_path):
    models.declare(auth={"file": str(tmp_path / "absent")})
    for _ in range(60):
        error = await failure(models, "a")
        assert isinstance(error, Unavailable) and error.reason == "PROVIDER_KEY_MISSING"
    assert await models.ask("a", "c", stream=False) == "Paris."
    assert not models.upstream.requests
