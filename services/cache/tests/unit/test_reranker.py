"""A reranking model, behind a real HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from infermesh_cache.adapters.outbound.retrieval.reranker import HttpReranker, create_reranker
from infermesh_cache.settings import RerankerSettings
from infermesh_common.errors import Unavailable
from infermesh_common.settings import BreakerSettings, SettingsError
from infermesh_common.telemetry.metrics import Metrics

BREAKER = BreakerSettings(failure_threshold=5, open_ms=1000, max_concurrent=8)


@dataclass
class Service:
    """Scores as the test says."""

    answer: object = None
    status: int = 200
    base_url: str = ""
    requests: list[dict[str, object]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    async def rerank(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    app = web.Application()
    app.router.add_post("/v1/rerank", service.rerank)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield service
    await runner.cleanup()


@pytest.fixture
async def reranker(service: Service, tmp_path: Path) -> AsyncIterator[HttpReranker]:
    (tmp_path / "key").write_text("secret")
    settings = RerankerSettings(
        base_url=service.base_url, model="m", api_key_file=tmp_path / "key", max_chars=5
    )
    reranker = await create_reranker(settings, BREAKER, Metrics())
    yield reranker
    await reranker.close()


def rows(*scores: object) -> dict[str, object]:
    # Best first, as services answer.
    found = [{"index": place, "relevance_score": score} for place, score in enumerate(scores)]
    return {"results": found[::-1]}


async def test_scores_are_those_of_the_passages_in_their_order(
    service: Service, reranker: HttpReranker
) -> None:
    service.answer = rows(0.1, -2, 0.7)
    assert await reranker.scores("a question", ["one", "two and more", ""]) == [0.1, -2, 0.7]
    (request,) = service.requests
    assert request == {
        "model": "m",
        "query": "a que",
        "documents": ["one", "two a", " "],
        "top_n": 3,
    }
    assert service.keys == ["Bearer secret"]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"results": [{}]},
        rows(0.1),
        rows("x", 1),
        rows(float("nan"), 1),
        {"results": 1},
    ],
)
async def test_an_answer_of_another_form_is_none(
    service: Service, reranker: HttpReranker, answer: object
) -> None:
    service.answer = answer
    with pytest.raises(Unavailable) as error:
        await reranker.scores("q", ["a", "b"])
    assert error.value.reason == "RERANKER_ANSWER_MALFORMED"


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_a_service_that_refuses_gives_no_scores(
    service: Service, reranker: HttpReranker, status: int
) -> None:
    service.status = status
    with pytest.raises(Unavailable, match=str(status)):
        await reranker.scores("q", ["a"])


async def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = RerankerSettings(
        base_url="http://127.0.0.1:9/v1", model="m", api_key_file=tmp_path / "none"
    )
    with pytest.raises(SettingsError, match="none"):
        await create_reranker(settings, BREAKER, Metrics())
