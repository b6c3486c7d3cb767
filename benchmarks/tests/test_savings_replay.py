"""Arrivals reach the mesh as an ordinary client sends them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from aiohttp import web

from benchmarks.savings.arrivals import Arrival
from benchmarks.savings.dataset import Dataset, Outcome, Price, Row
from benchmarks.savings.replay import Answer, Replayer, ReplayError

_ROWS = tuple(
    Row("sums", str(n), f"What is {n}?", 10 + n, {"Good@host": Outcome(True, 20 + n)})
    for n in range(30)
)
_DATASET = Dataset("made-up", _ROWS, {"Good@host": Price(Decimal(1), Decimal(2))})
_BY_PROMPT = {row.prompt: row for row in _ROWS}


class _Mesh:
    """Answers as the mesh does and remembers what it was asked."""

    def __init__(self, *, model: str = "good-host", status: int = 200) -> None:
        self.asked: list[tuple[str, str, object]] = []
        self._model = model
        self._status = status

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        row = _BY_PROMPT[body["messages"][0]["content"]]
        headers = request.headers
        self.asked.append((headers["authorization"], headers["x-infermesh-task"], body))
        if self._status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self._status)
        usage = {"prompt_tokens": row.input_tokens, "completion_tokens": 20 + int(row.id)}
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "4"},
            "finish_reason": "stop",
        }
        answer = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": self._model,
            "choices": [choice],
            "usage": {**usage, "total_tokens": sum(usage.values())},
        }
        cache = "shared" if int(row.id) % 2 else "miss"
        told = {"x-infermesh-model": self._model, "x-infermesh-cache": cache}
        return web.json_response(answer, headers=told)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Replayer]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            yield Replayer(f"http://{host}:{port}", _DATASET)
        finally:
            await runner.cleanup()


async def test_every_arrival_is_answered_once_and_in_its_place() -> None:
    mesh = _Mesh()
    arrivals = [Arrival(number % 2, row) for number, row in enumerate(_ROWS)]
    async with mesh.serving() as replayer:
        answers = await replayer.run(arrivals, ["key-0", "key-1"])
    assert answers == [
        Answer("Good@host", ("miss", "shared")[n % 2], row.input_tokens, 20 + n)
        for n, row in enumerate(_ROWS)
    ]
    assert [answer.from_cache for answer in answers] == [False, True] * 15
    expected = [
        (
            f"Bearer key-{arrival.team}",
            "sums",
            {
                "model": "auto",
                "messages": [{"role": "user", "content": arrival.row.prompt}],
                "temperature": 0,
            },
        )
        for arrival in arrivals
    ]
    assert sorted(mesh.asked, key=str) == sorted(expected, key=str)


async def test_a_model_can_be_named() -> None:
    mesh = _Mesh()
    async with mesh.serving() as replayer:
        await replayer.run([Arrival(0, _ROWS[0])], ["key"], "good-host")
    ((_, _, body),) = mesh.asked
    assert isinstance(body, dict) and body["model"] == "good-host"


@pytest.mark.parametrize(
    ("mesh", "said"), [(_Mesh(status=503), "sums 0 was not answered"), (_Mesh(model="x"), "'x'")]
)
async def test_a_failure_ends_the_replay_with_its_reason(mesh: _Mesh, said: str) -> None:
    async with mesh.serving() as replayer:
        with pytest.raises(ReplayError, match=said):
            await replayer.run([Arrival(0, row) for row in _ROWS[:1]], ["key"])
    assert len(mesh.asked) == 1
