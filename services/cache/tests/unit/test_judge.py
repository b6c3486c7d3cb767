"""A model that compares answers, behind a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from infermesh_cache.adapters.outbound.judge import INSTRUCTIONS, ChatJudge, create_judge
from infermesh_cache.application.comparing import JudgeComparer
from infermesh_cache.settings import JudgeSettings
from infermesh_common.errors import DeadlineExceeded, InfermeshError, Unavailable
from infermesh_common.settings import BreakerSettings, SettingsError
from infermesh_common.telemetry.metrics import Metrics

BREAKER = BreakerSettings(failure_threshold=5, open_ms=1000, max_concurrent=8)


@dataclass
class Model:
    """A chat service that says what the test tells it to."""

    content: object = '{"same": true}'
    status: int = 200
    hangs: bool = False
    body: bytes | None = None
    requests: list[dict[str, object]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    base_url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        self.headers.append(request.headers)
        if self.hangs:
            await asyncio.Event().wait()
        completion = {
            "choices": [{"message": {"role": "assistant", "content": self.content}}],
            "usage": {"prompt_tokens": 120, "completion_tokens": 6},
        }
        body = orjson.dumps(completion) if self.body is None else self.body
        return web.Response(status=self.status, body=body, content_type="application/json")


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    model = Model()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    model.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield model
    await runner.cleanup()


@pytest.fixture
async def judge(model: Model, metrics: Metrics, tmp_path: Path) -> AsyncIterator[ChatJudge]:
    (tmp_path / "key").write_text("im_secret\n")
    settings = JudgeSettings(
        base_url=model.base_url, model="gpt-x", api_key_file=tmp_path / "key", max_chars=100
    )
    judge = await create_judge(settings, BREAKER, metrics)
    yield judge
    await judge.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def count(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def test_the_model_is_asked_about_both_answers(
    model: Model, judge: ChatJudge, metrics: Metrics
) -> None:
    assert await judge.same("How long?", "14 days", "Two weeks")
    (request,) = model.requests
    assert request["model"] == "gpt-x" and request["temperature"] == 0
    messages = request["messages"]
    assert isinstance(messages, list)
    system, user = messages
    assert system == {"role": "system", "content": INSTRUCTIONS}
    shown = {"question": "How long?", "answers": ["14 days", "Two weeks"]}
    assert orjson.loads(user["content"]) == shown
    (headers,) = model.headers
    assert headers["authorization"] == "Bearer im_secret"
    # A judgement of the mesh itself must not be compared by another judgement.
    assert headers["x-infermesh-cache"] == "bypass"
    assert count(metrics, "infermesh_semantic_judge_verdicts_total", result="same") == 1
    assert count(metrics, "infermesh_semantic_judge_tokens_total", direction="input") == 120
    assert count(metrics, "infermesh_semantic_judge_tokens_total", direction="output") == 6


@pytest.mark.parametrize(
    ("content", "same", "result"),
    [
        ('{"same": true}', True, "same"),
        ('```json\n{"same": true}\n```', True, "same"),
        ('{"same": false}', False, "different"),
        ('{"same": "true"}', False, "none"),
        ("They are the same.", False, "none"),
        ("[]", False, "none"),
        ("", False, "none"),
        (None, False, "none"),
    ],
)
async def test_only_a_clear_yes_makes_answers_the_same(
    model: Model, judge: ChatJudge, metrics: Metrics, content: object, same: bool, result: str
) -> None:
    model.content = content
    assert await judge.same("q", "a", "b") is same
    assert count(metrics, "infermesh_semantic_judge_verdicts_total", result=result) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b"<html>"])
async def test_what_is_no_completion_is_no_verdict(
    model: Model, judge: ChatJudge, body: bytes
) -> None:
    model.body = body
    assert not await judge.same("q", "a", "b")


async def test_a_request_that_the_model_refuses_is_no_verdict(
    model: Model, judge: ChatJudge
) -> None:
    # Which answers a filter refuses is not by chance: leaving them out would bend the bound.
    model.status = 400
    assert not await judge.same("q", "a", "b")


async def test_long_answers_are_not_sent(model: Model, judge: ChatJudge) -> None:
    assert not await judge.same("q", "a" * 60, "b" * 60)
    assert not model.requests


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_service_that_takes_no_request_is_unavailable(
    model: Model, judge: ChatJudge, status: int
) -> None:
    model.status = status
    with pytest.raises(Unavailable) as error:
        await judge.same("q", "a", "b")
    assert error.value.reason == "JUDGE_SERVICE_REFUSED"
    assert str(status) in error.value.message


async def test_an_endless_answer_is_not_read(model: Model, judge: ChatJudge) -> None:
    model.content = "x" * 300_000
    with pytest.raises(Unavailable) as error:
        await judge.same("q", "a", "b")
    assert error.value.reason == "JUDGE_ANSWER_MALFORMED"


async def test_a_slow_or_absent_service_is_given_up(model: Model, metrics: Metrics) -> None:
    model.hangs = True
    slow = JudgeSettings(base_url=model.base_url, model="m", timeout_ms=50)
    absent = JudgeSettings(base_url="http://127.0.0.1:9/v1", model="m")
    for settings in (slow, absent):
        judge = await create_judge(settings, BREAKER, metrics)
        with pytest.raises(InfermeshError) as error:
            await judge.same("q", "a", "b")
        assert isinstance(error.value, Unavailable | DeadlineExceeded)
        await judge.close()


async def test_a_key_that_cannot_be_read_is_named(metrics: Metrics, tmp_path: Path) -> None:
    settings = JudgeSettings(
        base_url="http://127.0.0.1:9/v1", model="m", api_key_file=tmp_path / "none"
    )
    with pytest.raises(SettingsError, match="none"):
        await create_judge(settings, BREAKER, metrics)


def said(text: str) -> bytes:
    return orjson.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


class Biased:
    """Takes for the same what it reads in one order only."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    async def same(self, question: str, left: str, right: str) -> bool:
        self.asked.append((question, left, right))
        return left < right


async def test_one_no_in_either_order_is_a_no() -> None:
    judge = Biased()
    comparer = JudgeComparer(judge)
    assert not await comparer.same(said("alpha"), said("beta"), "q")
    assert judge.asked == [("q", "alpha", "beta"), ("q", "beta", "alpha")]
    judge.asked.clear()
    assert not await comparer.same(said("beta"), said("alpha"), "q")
    assert judge.asked == [("q", "beta", "alpha")]


async def test_equal_answers_and_no_answers_need_no_judge() -> None:
    judge = Biased()
    comparer = JudgeComparer(judge)
    assert await comparer.same(said("Yes."), said("yes"), "q")
    assert not await comparer.same(b"{}", said("yes"), "q")
    assert not await comparer.same(said(""), said("yes"), "q")
    assert not judge.asked
    assert comparer.identity(said("Yes.")) == comparer.identity(said("yes"))
