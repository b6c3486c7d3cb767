"""Whatever a provider does, at whatever point of its answer: a right answer of another model or a
clear error, in time, and nothing left behind (which the fixture counts)."""

import asyncio
import socket
import time

import pytest

from infermesh_common import context as request_context
from infermesh_common.context import RequestContext
from infermesh_common.errors import DeadlineExceeded, InfermeshError, Unavailable
from infermesh_common.testing.servers import eventually, free_port
from infermesh_common.testing.upstream import chunks, sse

ROLE, TEXT, REST, FINISH, USAGE = map(sse, chunks())
DONE = b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
LONGEST_S = 20
DEFECTS_OF_OURS = ("INTERNAL", "")
both = pytest.mark.parametrize("stream", [False, True])


def piece(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(*pieces):
    return HEAD + b"".join(map(piece, pieces))


def sends(data, *, then):
    """Sends `data`; then the connection hangs, is cut, or is closed in order."""

    async def behave(reader, writer):
        writer.write(data)
        await writer.drain()
        if then == "hangs":
            await reader.read()
        elif then == "cut":
            writer.transport.abort()
        else:
            writer.close()

    return behave


def whole(body, *, length=None):
    return WHOLE % (len(body) if length is None else length) + body


BEFORE_ANY_BODY = {
    "no headers, hangs": sends(b"", then="hangs"),
    "no headers, cut": sends(b"", then="cut"),
    "no headers, closed": sends(b"", then="closed"),
    "half a status line, hangs": sends(b"HTTP/1.1 20", then="hangs"),
    "no HTTP": sends(b"220 smtp.example.test ESMTP\r\n\r\n", then="closed"),
    "endless header": sends(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, then="hangs"),
    "error, body hangs": sends(b"HTTP/1.1 503 No\r\ncontent-length: 50\r\n\r\n{", then="hangs"),
    "error, body cut": sends(b"HTTP/1.1 500 No\r\ncontent-length: 50\r\n\r\n{", then="cut"),
    "redirect": sends(
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        then="hangs",
    ),
    "limited, body hangs": sends(
        b"HTTP/1.1 429 Slow\r\nretry-after: 9\r\ncontent-length: 50\r\n\r\n{", then="hangs"
    ),
    "no encoding of that name": sends(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        then="hangs",
    ),
}
NO_WHOLE_ANSWER = {
    "body hangs": sends(whole(b'{"choices"', length=99), then="hangs"),
    "body cut": sends(whole(b'{"choices"', length=99), then="cut"),
    "body too short": sends(whole(b'{"choices"', length=99), then="closed"),
    "body garbage": sends(whole(b"\x00\xff<html>"), then="hangs"),
    "body empty": sends(whole(b""), then="hangs"),
    "body no answer": sends(whole(b'{"choices": []}'), then="hangs"),
    "body an error": sends(whole(b'{"error": {"message": "no"}}'), then="hangs"),
    "body too large": sends(whole(b" " * 1_000_001), then="hangs"),
    "chunk of no size": sends(HEAD + b"zz\r\n", then="hangs"),
}
NO_CONTENT_YET = {
    "first byte hangs": sends(HEAD, then="hangs"),
    "first byte cut": sends(HEAD, then="cut"),
    "nothing, ends": sends(HEAD + b"0\r\n\r\n", then="hangs"),
    "role only, hangs": sends(chunked(ROLE), then="hangs"),
    "role only, cut": sends(chunked(ROLE), then="cut"),
    "role only, ends": sends(chunked(ROLE) + b"0\r\n\r\n", then="hangs"),
    "role only, done": sends(chunked(ROLE, DONE), then="hangs"),
    "comments, hangs": sends(chunked(b": thinking\n\n" * 3), then="hangs"),
    "half an event, hangs": sends(chunked(ROLE, TEXT[:-5]), then="hangs"),
    "garbage": sends(chunked(b"data: \xff\xfe{\n\n"), then="hangs"),
    "no object": sends(chunked(b"data: [1]\n\n"), then="hangs"),
    "an error": sends(chunked(ROLE, b'data: {"error": {"message": "no"}}\n\n'), then="hangs"),
    "endless event": sends(chunked(b"data: " + b"x" * 1_000_001), then="hangs"),
    "content and an error at once": sends(
        chunked(ROLE + TEXT + b'data: {"error": {"message": "no"}}\n\n'), then="hangs"
    ),
    "content and garbage at once": sends(chunked(ROLE, TEXT) + b"zz\r\n", then="hangs"),
    "chunk of no size": sends(HEAD + b"zz\r\n", then="hangs"),
    "a page": sends(whole(b"<html>welcome</html>"), then="hangs"),
}
AFTER_THE_FIRST_CONTENT = {
    "hangs": sends(b"", then="hangs"),
    "cut": sends(b"", then="cut"),
    "ends": sends(b"0\r\n\r\n", then="hangs"),
    "garbage in HTTP": sends(b"garbage\r\n", then="hangs"),
    "garbage": sends(piece(b"data: \xff\xfe{\n\n"), then="hangs"),
    "comments only": sends(piece(b": alive\n\n") * 5, then="hangs"),
    "endless event": sends(piece(b"data: " + b"x" * 1_000_001), then="hangs"),
    "no end after the finish": sends(piece(FINISH), then="cut"),
}
REPLACEABLE = [
    *((name, fault, stream) for name, fault in BEFORE_ANY_BODY.items() for stream in (False, True)),
    *((name, fault, False) for name, fault in NO_WHOLE_ANSWER.items()),
    *((name, fault, True) for name, fault in NO_CONTENT_YET.items()),
]
replaceable = pytest.mark.parametrize(
    ("name", "fault", "stream"),
    [pytest.param(*case, id=f"{case[0]}-{case[2]}") for case in REPLACEABLE],
)


async def failure(models, *chain, stream):
    async with asyncio.timeout(LONGEST_S):
        with pytest.raises(InfermeshError) as caught:
            await models.ask(*chain, stream=stream)
    assert caught.value.reason not in DEFECTS_OF_OURS
    return caught.value


@replaceable
async def test_a_fault_before_the_first_content_is_made_good_by_the_next_model(
    models, name, fault, stream
):
    models.upstream.script["upstream-a"] = fault
    async with asyncio.timeout(LONGEST_S):
        assert await models.ask("a", "c", stream=stream) == "Paris."
    assert models.decision.model == "c" and len(models.other.requests) == 1
    assert all("is not known" in told for told in models.decision.fallbacks)
    # Connections of answers that are not whole are closed, not kept.
    kept = 0 if "hangs" in name else 1
    await eventually(lambda: models.upstream.open <= kept)


@replaceable
async def test_a_fault_without_another_model_is_a_clear_error_and_no_known_cost(
    models, name, fault, stream
):
    models.upstream.script["upstream-a"] = fault
    error = await failure(models, "a", stream=stream)
    assert isinstance(error, (Unavailable, DeadlineExceeded)) or error.retry_after_s == 9
    models.decision.settle_failure()
    assert models.decision.cost is None


@pytest.mark.parametrize("name", AFTER_THE_FIRST_CONTENT)
async def test_a_fault_after_the_first_content_is_an_error_and_nobody_else_is_asked(models, name):
    async def begins_and_fails(reader, writer):
        writer.write(chunked(ROLE, TEXT))
        await models.begun.wait()
        await AFTER_THE_FIRST_CONTENT[name](reader, writer)

    models.upstream.script["upstream-a"] = begins_and_fails
    error = await failure(models, "a", "c", stream=True)
    assert error.reason in (
        "PROVIDER_STREAM_BROKEN",
        "PROVIDER_TIMEOUT",
        "PROVIDER_ANSWER_TOO_LARGE",
    )
    assert not models.other.requests and len(models.upstream.requests) == 1


@both
async def test_a_refused_connection_is_known_to_cost_nothing(models, stream):
    models.declare(baseUrl=f"http://127.0.0.1:{free_port()}/v1")
    assert (await failure(models, "a", stream=stream)).reason == "PROVIDER_ONE_UNAVAILABLE"
    models.decision.settle_failure()
    assert models.decision.cost == 0
    assert await models.ask("a", "c", stream=stream) == "Paris."
    assert models.decision.fallbacks == ["a: PROVIDER_ONE_UNAVAILABLE"]


@both
async def test_a_connection_that_is_never_made_ends_within_its_time_out(models, stream):
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        # With its queue full, a listening socket lets further connections hang.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        models.declare(baseUrl=f"http://127.0.0.1:{full.getsockname()[1]}/v1")
        assert isinstance(await failure(models, "a", stream=stream), DeadlineExceeded)


@both
async def test_no_attempt_outlives_the_deadline_of_the_request(models, stream):
    hour = {"firstTokenMs": 3_600_000, "betweenTokensMs": 3_600_000, "totalMs": 3_600_000}
    models.declare(timeouts=hour)
    faults = [sends(b"", then="hangs"), sends(HEAD, then="hangs")]
    faults += [sends(chunked(*pieces), then="hangs") for pieces in ((ROLE,), (ROLE, TEXT))]

    async def with_deadline():
        deadline_s = time.monotonic() + 0.2
        request_context.bind(RequestContext("/a/B", "id", {}, deadline_s, 0))
        return await failure(models, "a", "c", stream=stream)

    for fault in faults:
        models.upstream.script["upstream-a"] = fault
        assert isinstance(await asyncio.create_task(with_deadline()), DeadlineExceeded)
    assert not models.other.requests


async def test_a_stream_that_goes_on_and_on_ends_with_its_total_time(models):
    async def babbles(reader, writer):
        writer.write(chunked(ROLE))
        try:
            while not writer.is_closing():
                writer.write(piece(TEXT))
                await asyncio.wait_for(asyncio.shield(writer.drain()), 1)
                await asyncio.sleep(0)
        except (TimeoutError, ConnectionError):
            writer.close()

    models.upstream.script["upstream-a"] = babbles
    error = await failure(models, "a", "c", stream=True)
    assert error.reason in ("PROVIDER_TIMEOUT", "PROVIDER_ANSWER_TOO_LARGE")
    assert not models.other.requests


@both
async def test_a_client_that_leaves_ends_the_call_and_its_connection(models, stream):
    models.upstream.script["upstream-a"] = sends(HEAD if stream else b"", then="hangs")
    models.declare(timeouts={"totalMs": 600_000})
    task = asyncio.create_task(models.ask("a", "c", stream=stream))
    while not models.upstream.requests:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert models.decision.provider_called
