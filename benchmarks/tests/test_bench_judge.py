"""The error of a judge is read off its verdicts, and what cannot be judged is said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from benchmarks.judge import Judged, NoPairs, Pair, judge_pairs, main, read_pairs
from infermesh_cache.settings import JudgeSettings


def pair(left: str, right: str, same: bool) -> Pair:
    return Pair(question="q", left=left, right=right, same=same)


def test_limits_are_those_of_clopper_and_pearson() -> None:
    # None of 59: 1 - 0.05 ** (1 / 59).
    none = Judged([pair("a", "b", False)] * 59, [False] * 59)
    assert none.figures()["overlooked"] == 0
    assert none.figures()["overlooked_upper"] == pytest.approx(0.0495, abs=1e-4)
    # All of 3: nothing below 1 is excluded.
    every = Judged([pair("a", "b", False)] * 3, [True] * 3)
    assert every.figures()["overlooked_upper"] == 1


def test_pairs_that_were_not_judged_are_counted_apart() -> None:
    pairs = [pair("a", "b", True), pair("a", "b", True), pair("a", "b", False)]
    figures = Judged(pairs, [False, None, None]).figures()
    assert figures["not_judged"] == 2 and figures["rejected_right"] == 1
    assert figures["overlooked"] is None and figures["overlooked_upper"] is None


@pytest.fixture
async def judge_url() -> AsyncIterator[str]:
    """A model that finds the same what begins with the same letter."""

    async def answer(request: web.Request) -> web.Response:
        shown = json.loads((await request.json())["messages"][1]["content"])
        left, right = shown["answers"]
        content = json.dumps({"same": left[0] == right[0]})
        return web.json_response({"choices": [{"message": {"content": content}}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


async def test_a_judge_is_asked_as_the_service_asks_it(judge_url: str) -> None:
    pairs = [
        pair("alpha", "anna", True),
        pair("alpha", "beta", True),
        pair("alpha", "beta", False),
        pair("alpha", "anna", False),
    ]
    judged = await judge_pairs(pairs, JudgeSettings(base_url=judge_url, model="m"))
    assert judged.verdicts == [True, False, False, True]
    figures = judged.figures()
    assert figures["overlooked"] == figures["rejected_right"] == 0.5


def test_a_line_of_another_form_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    good = '{"question": "q", "left": "a", "right": "b", "same": true}\n\n'
    for broken in ('{"question": "q"}', '{"left": 1}', "no JSON"):
        file.write_text(good + broken)
        with pytest.raises(NoPairs, match="line 3"):
            read_pairs(file)
    file.write_text("\n")
    with pytest.raises(NoPairs, match="no pairs"):
        read_pairs(file)


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main({}) == 2
    assert "PAIRS, JUDGE_URL, JUDGE_MODEL" in capsys.readouterr().err
    given = {"PAIRS": str(tmp_path / "none"), "JUDGE_URL": "http://127.0.0.1:9/v1"}
    assert main({**given, "JUDGE_MODEL": "m"}) == 2
    assert "none" in capsys.readouterr().err
    assert main({**given, "JUDGE_URL": "nonsense", "JUDGE_MODEL": "m"}) == 2
    assert "JUDGE_URL" in capsys.readouterr().err
