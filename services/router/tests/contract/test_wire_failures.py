"""However a provider fails, it is a clear error and never an answer."""

import pytest

from infermesh_common.errors import (
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from infermesh_router.testing.scripted_http import Reply
from infermesh_router.testing.wire_sample import Said

ANSWER = Said(("Par", "is", "."))


def no_secrets(mesh, error):
    told = f"{error} {error.reason} {error.message} {error.field} {error.metadata}"
    assert not any(secret in told for secret in mesh.wire.confidential)


async def failure(mesh, stream):
    """The error of one call; hangs are the suite's time-out."""
    with pytest.raises(Exception) as caught:
        await (mesh.stream() if stream else mesh.complete())
    no_secrets(mesh, caught.value)
    return caught.value


whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@whole_and_streamed
@pytest.mark.parametrize(
    ("status", "kind", "reason", "tells"),
    [
        (400, InvalidArgument, "PROVIDER_REJECTED_REQUEST", True),
        (401, Unavailable, "PROVIDER_REFUSED_CREDENTIALS", False),
        (403, Unavailable, "PROVIDER_REFUSED_CREDENTIALS", False),
        (404, NotFound, "PROVIDER_NOT_FOUND", True),
        (408, Unavailable, "PROVIDER_FAILED", True),
        (413, InvalidArgument, "PROVIDER_REJECTED_REQUEST", True),
        (429, ResourceExhausted, "PROVIDER_RATE_LIMITED", True),
        (500, Unavailable, "PROVIDER_FAILED", True),
        (503, Unavailable, "PROVIDER_FAILED", True),
        (529, Unavailable, "PROVIDER_FAILED", True),
    ],
)
async def test_a_refusal_is_the_right_error_with_the_providers_words(
    mesh, stream, status, kind, reason, tells
):
    mesh.refuses(status, "messages: too many of them")
    error = await failure(mesh, stream)
    assert (type(error), error.reason) == (kind, reason)
    assert ("messages: too many of them" in error.message) is tells
    assert error.metadata["provider"] == "main"
    assert error.metadata["provider_status"] == str(status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
async def test_no_refusal_repeats_the_key(mesh, status):
    mesh.refuses(status, f"not with {mesh.wire.secret}, {' '.join(mesh.wire.confidential)}")
    await failure(mesh, False)


@whole_and_streamed
@pytest.mark.parametrize("status", [429, 503, 529])
async def test_when_to_come_back_is_passed_on(mesh, stream, status):
    mesh.refuses(status, "later", **{"retry-after": "17"})
    assert (await failure(mesh, stream)).retry_after_s == 17


@whole_and_streamed
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b'{"error": 7}', b"{}"])
async def test_a_refusal_without_words_is_an_error_as_well(mesh, stream, body):
    mesh.upstream.reply = Reply([body], 400)
    error = await failure(mesh, stream)
    assert (type(error), error.reason) == (InvalidArgument, "PROVIDER_REJECTED_REQUEST")
    assert error.message


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b'"x"', b"{}", b'{"choices": []}', b"null", b"<html>ok</html>"],
)
async def test_a_success_that_is_no_answer_is_an_error(mesh, body):
    mesh.upstream.reply = Reply([body])
    error = await failure(mesh, False)
    assert (type(error), error.reason) == (Unavailable, "PROVIDER_STREAM_BROKEN")


async def test_an_error_in_place_of_an_answer_is_an_error(mesh):
    mesh.upstream.reply = Reply([mesh.wire.error(500, "no capacity")])
    assert isinstance(await failure(mesh, False), Unavailable)


async def test_an_answer_cut_short_is_an_error(mesh):
    data = mesh.wire.whole(ANSWER)
    mesh.upstream.reply = Reply([data[: len(data) // 2]])
    assert isinstance(await failure(mesh, False), Unavailable)
    mesh.upstream.reply = Reply([data[: len(data) // 2]], ends=False)
    assert isinstance(await failure(mesh, False), Unavailable)


@pytest.mark.parametrize("ends", [True, False], ids=["closed", "cut"])
async def test_a_stream_that_ends_early_is_an_error_wherever_it_ends(mesh, ends):
    frames = mesh.wire.streamed(ANSWER)
    for kept in range(len(frames)):
        mesh.streams(frames[:kept], ends=ends)
        assert isinstance(await failure(mesh, True), Unavailable)
    data = b"".join(frames)
    for kept in range(1, len(data) - len(frames[-1]), 50):
        mesh.streams([data[:kept]], ends=ends)
        assert isinstance(await failure(mesh, True), Unavailable)


async def test_an_error_in_a_stream_is_an_error_wherever_it_comes(mesh):
    frames = mesh.wire.streamed(ANSWER)
    for event in mesh.wire.stream_errors("Overloaded just now"):
        for kept in range(len(frames)):
            mesh.streams([*frames[:kept], event, *frames[kept:]])
            error = await failure(mesh, True)
            assert isinstance(error, Unavailable)
            assert "Overloaded just now" in error.message


async def test_garbage_in_a_stream_is_an_error(mesh):
    frames = mesh.wire.streamed(ANSWER)
    for garbage in mesh.wire.garbage():
        for kept in (0, 1, len(frames) // 2):
            mesh.streams([*frames[:kept], garbage, *frames[kept:]])
            error = await failure(mesh, True)
            assert (type(error), error.reason) == (Unavailable, "PROVIDER_STREAM_BROKEN")


async def test_an_endless_answer_is_refused(mesh):
    endless = [b"x" * 100_000] * 5
    mesh.upstream.reply = Reply(endless)
    assert (await failure(mesh, False)).reason == "PROVIDER_ANSWER_TOO_LARGE"
    mesh.streams([b"".join(mesh.wire.streamed(Said(("y" * 300_000,))))])
    assert (await failure(mesh, True)).reason == "PROVIDER_ANSWER_TOO_LARGE"
    mesh.streams(mesh.wire.streamed(Said(("y" * 1000,) * 300)))
    assert (await failure(mesh, True)).reason == "PROVIDER_ANSWER_TOO_LARGE"


async def test_a_failure_does_not_trouble_the_next_call(mesh):
    mesh.streams(mesh.wire.streamed(ANSWER)[:-1])
    assert isinstance(await failure(mesh, True), Unavailable)
    mesh.streams(mesh.wire.streamed(ANSWER))
    assert (await mesh.stream())["choices"][0]["message"]["content"] == "Paris."
