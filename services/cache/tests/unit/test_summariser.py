"""A model that says where chunks stand, behind a real HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import orjson
import pytest
from aiohttp import web
from infermesh_cache.adapters.outbound.retrieval.summariser import (
    INSTRUCTIONS,
    ChatSummariser,
    create_summariser,
)
from infermesh_cache.domain.retrieval.documents import Document
from infermesh_cache.settings import SummariserSettings
from infermesh_common.errors import Unavailable
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics

BREAKER = BreakerSettings(failure_threshold=50, open_ms=1000, max_concurrent=8)
MANUAL = Document("manual", "Coffee machine", ("Cleaning", "It is descaled.", "Warranty"))


@dataclass
class Model:
    """Says what each chunk is, or what the test tells it to."""

    status: int = 200
    answer: object = None
    base_url: str = ""
    requests: list[dict[str, object]] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    async def complete(self, request: web.Request) -> web.Response:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        asked = await request.json()
        self.requests.append(asked)
        self.under_way -= 1
        chunk = orjson.loads(asked["messages"][2]["content"])["chunk"]
        said = {"choices": [{"message": {"content": f" About {chunk} \n"}}]}
        return web.json_response(said if self.answer is None else self.answer, status=self.status)


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    model = Model()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.complete)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    model.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield model
    await runner.cleanup()


@pytest.fixture
async def summariser(model: Model) -> AsyncIterator[ChatSummariser]:
    settings = SummariserSettings(base_url=model.base_url, model="m", max_chars=100, concurrency=2)
    summariser = await create_summariser(settings, BREAKER, Metrics())
    yield summariser
    await summariser.close()


async def test_each_chunk_gets_its_own_lines_in_order(
    model: Model, summariser: ChatSummariser
) -> None:
    found = await summariser.summaries(MANUAL)
    assert found == [f"About {chunk}" for chunk in MANUAL.chunks]
    assert model.most <= 2
    messages = model.requests[0]["messages"]
    assert isinstance(messages, list) and messages[0]["content"] == INSTRUCTIONS
    whole = "\n".join((MANUAL.title, *MANUAL.chunks))
    assert orjson.loads(messages[1]["content"]) == {"document": whole}
    # The same beginning each time: providers read it once.
    heads = {orjson.dumps(each["messages"][:2]) for each in model.requests}
    assert len(heads) == 1


async def test_a_long_document_is_not_sent(model: Model, summariser: ChatSummariser) -> None:
    assert await summariser.summaries(Document("d", "", ("x" * 60, "y" * 60))) == ["", ""]
    assert not model.requests


async def test_a_chunk_that_the_model_refuses_has_no_lines(
    model: Model, summariser: ChatSummariser
) -> None:
    model.status = 400
    assert await summariser.summaries(MANUAL) == ["", "", ""]


@pytest.mark.parametrize(("status", "answer"), [(500, None), (200, {}), (200, {"choices": []})])
async def test_a_model_that_fails_writes_nothing(
    model: Model, summariser: ChatSummariser, status: int, answer: object
) -> None:
    model.status, model.answer = status, answer
    with pytest.raises(Unavailable):
        await summariser.summaries(MANUAL)
