"""The official OpenAI SDK against the whole mesh: answers, streams, its own exception classes."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from infermesh_common.testing.upstream import break_off, chunks, failing, hang, sse

QUESTION = [{"role": "user", "content": "Capital of France?"}]


def ask(client, question="Capital of France?", **more):
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(**{"model": "scripted", "messages": messages, **more})


def test_the_embedded_model_answers_for_real(mesh, unique):
    client = mesh.openai()
    raw = client.chat.completions.with_raw_response.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": f"Say hello to {unique}"}],
        temperature=0,
        max_tokens=64,
        extra_headers={"x-infermesh-cache": "bypass"},
    )
    answer = raw.parse()
    assert answer.choices[0].message.content.strip()
    assert answer.usage.completion_tokens > 0
    assert raw.headers["x-infermesh-cache"] == "bypass"
    streamed = ask(client, unique, model="smollm2-135m", stream=True, max_tokens=16)
    assert "".join(c.choices[0].delta.content or "" for c in streamed if c.choices).strip()
    vectors = client.embeddings.create(model="smollm2-135m", input=["a", "b"])
    assert len(vectors.data) == 2 and len(vectors.data[0].embedding) > 100


def test_a_repeated_question_is_a_hit_as_body_and_as_stream(mesh, upstream, unique):
    client = mesh.openai()
    first = ask(client, unique)
    again = client.chat.completions.with_raw_response.create(
        model="scripted", messages=[{"role": "user", "content": unique}]
    )
    assert again.headers["x-infermesh-cache"] == "hit"
    assert again.parse().choices[0].message.content == first.choices[0].message.content
    streamed = list(ask(client, unique, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in streamed if c.choices) == "Paris."
    assert streamed[-1].usage == first.usage
    assert len(upstream.requests) == 1


def test_a_burst_of_one_question_makes_one_upstream_call(mesh, upstream, unique):
    def all_are_in() -> None:
        deadline = time.monotonic() + 20
        while mesh.in_flight("router") < 8 and time.monotonic() < deadline:
            pass

    async def answer_when_all_are_in(request, body):
        await asyncio.to_thread(all_are_in)
        return await upstream.answer(request, body)

    upstream.handler = answer_when_all_are_in
    client = mesh.openai()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(client, unique), range(8)))
    assert {answer.choices[0].message.content for answer in answers} == {"Paris."}
    assert len(upstream.requests) == 1


def test_a_chunk_arrives_while_the_model_still_works_and_leaving_stops_it(mesh, upstream, unique):
    async def endless(request, body):
        return await upstream.stream(request, [sse(chunks()[0]), sse(chunks()[1])], then=hang)

    upstream.handler = endless
    stream = ask(mesh.openai(), unique, stream=True)
    assert next(iter(stream)).object == "chat.completion.chunk"
    stream.close()
    deadline = time.monotonic() + 20
    while not upstream.disconnected.is_set():
        assert time.monotonic() < deadline, "the upstream call was not cancelled"


def test_two_tenants_never_share_an_answer(mesh, upstream, unique):
    ask(mesh.openai("demo"), unique)
    raw = mesh.openai("acme").chat.completions.with_raw_response.create(
        model="scripted", messages=[{"role": "user", "content": unique}]
    )
    assert raw.headers["x-infermesh-cache"] == "miss"
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("handler", "exception", "code"),
    [
        (failing(400, {"message": "no", "code": "bad_thing"}), openai.BadRequestError, "bad_thing"),
        (
            failing(401, {"message": "no"}),
            openai.InternalServerError,
            "provider_refused_credentials",
        ),
        (
            failing(429, {"message": "slow"}, retry_after="1"),
            openai.RateLimitError,
            "provider_rate_limited",
        ),
        (failing(500, {"message": "oops"}), openai.InternalServerError, "provider_failed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_failure_raises_the_sdks_own_exception(
    mesh, upstream, unique, handler, exception, code, stream
):
    upstream.handler = handler
    chosen = "scripted"
    if exception is openai.RateLimitError:
        # It rests after the refusal, and the others go on.
        chosen = "limited-stream" if stream else "limited-whole"
    with pytest.raises(exception) as caught:
        ask(mesh.openai(), unique, stream=stream, model=chosen)
    assert caught.value.code == code
    if exception is openai.RateLimitError:
        assert caught.value.response.headers["retry-after"] == "1"


async def test_a_stream_that_breaks_upstream_raises_and_is_not_cached(mesh, upstream, unique):
    async def breaks(request, body):
        return await upstream.stream(request, [sse(chunks()[1])], then=break_off)

    upstream.handler = breaks
    client = mesh.openai()
    with pytest.raises(openai.APIError) as caught:
        list(ask(client, unique, stream=True))
    assert caught.value.code == "provider_stream_broken"
    async with mesh.async_openai() as aclient:
        with pytest.raises(openai.APIError):
            async for _ in await aclient.chat.completions.create(
                model="scripted", messages=[{"role": "user", "content": unique}], stream=True
            ):
                pass
    upstream.handler = None
    assert ask(client, unique).choices[0].message.content == "Paris."
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("im_0123456789abcdef_" + "x" * 43, "invalid_api_key"),
        ("nonsense", "invalid_api_key"),
    ],
)
async def test_a_wrong_key_is_an_authentication_error(mesh, key, code):
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(mesh.openai(key=key))
    assert caught.value.code == code
    with pytest.raises(openai.AuthenticationError):
        ask(mesh.openai(key=key), stream=True)
    async with mesh.async_openai(key=key) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


def test_a_revoked_key_stops_working_within_two_seconds(mesh, unique):
    with mesh.client() as operator:
        created = operator.create_key(tenant="demo")
        client = mesh.openai(key=created.secret)
        deadline = time.monotonic() + 20
        while True:
            try:
                ask(client, unique)
                break
            except openai.AuthenticationError:
                assert time.monotonic() < deadline
        operator.revoke_key(created.key.key_id)
        revoked_at = time.monotonic()
        while True:
            try:
                ask(client, unique)
            except openai.AuthenticationError as error:
                assert error.code == "api_key_revoked"
                break
            assert time.monotonic() - revoked_at < 2.0


def test_an_expired_key_is_refused_as_expired(mesh, unique):
    with mesh.client() as operator:
        expires = datetime.now(UTC) + timedelta(seconds=1)
        created = operator.create_key(tenant="demo", expire_time=expires)
    client = mesh.openai(key=created.secret)
    deadline = time.monotonic() + 20
    while True:
        try:
            ask(client, unique)
        except openai.AuthenticationError as error:
            if error.code == "api_key_expired":
                break
        assert time.monotonic() < deadline


def test_a_forged_tenant_is_refused(mesh, upstream, unique):
    client = mesh.openai("demo")
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(client, unique, extra_headers={"x-infermesh-tenant": "acme"})
    assert caught.value.code == "tenant_mismatch"
    for forged in ("x-infermesh-key-id", "x-infermesh-role", "x-infermesh-internal-token"):
        assert ask(client, unique, extra_headers={forged: "operator"})
    assert not any("x-infermesh" in str(headers) for headers in upstream.headers)


async def test_a_body_of_50_mb_is_an_api_status_error(mesh):
    huge = "x" * 50_000_000
    with pytest.raises(openai.APIStatusError) as caught:
        ask(mesh.openai(), huge)
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
    async with mesh.async_openai() as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(
                model="scripted", messages=[{"role": "user", "content": huge}]
            )
    assert caught.value.status_code == 413


def test_an_unknown_model_is_not_found(mesh):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(mesh.openai(), model="gpt-99")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_models_are_listed(mesh):
    assert {"auto", "smollm2-135m", "scripted"} <= {m.id for m in mesh.openai().models.list()}
    assert mesh.openai().models.retrieve("smollm2-135m").id == "smollm2-135m"
