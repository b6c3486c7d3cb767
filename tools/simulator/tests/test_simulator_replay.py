"""Recorded outcomes are answered as they were recorded, and nothing else is."""

import gzip
from pathlib import Path

import anthropic
import openai
import orjson
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tools.simulator.replay import ReplayError, read_recordings
from tools.simulator.server import Simulator, simulator

ROWS = [
    {
        "task": "sums",
        "id": "0",
        "prompt": "\nWhat is 1 + 1?\n",
        "answer": "2",
        "in_tokens": 11,
        "models": {"good@host": [1, 5, "2"], "bad": [0, 900, "3"], "mute": [0, 7, None]},
    },
    {"prompt": "What is 2 + 2?", "in_tokens": 12, "models": {"good@host": [1, 6, "4"]}},
]


@pytest.fixture(params=["outcomes.jsonl", "outcomes.jsonl.gz"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    lines = b"\n".join(map(orjson.dumps, ROWS))
    packed = gzip.compress(lines) if request.param.endswith(".gz") else lines
    (tmp_path / request.param).write_bytes(packed)
    return tmp_path


def openai_of(sim: Simulator) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{sim.url}/v1", api_key="k", max_retries=0)


async def ask(client: AsyncOpenAI, model: str, prompt: str) -> tuple[str | None, int, int]:
    said = await client.chat.completions.create(
        model=model,
        messages=[
            {"role": "user", "content": "What is 2 + 2?"},
            {"role": "assistant", "content": "4"},
            {"role": "user", "content": [{"type": "text", "text": prompt}]},
        ],
    )
    assert said.usage
    usage = said.usage
    return said.choices[0].message.content, usage.prompt_tokens, usage.completion_tokens


async def test_prompt_and_model_select_the_answer_and_its_tokens(folder: Path) -> None:
    async with simulator(replay=folder) as sim, openai_of(sim) as client:
        assert await ask(client, "good@host", "\nWhat is 1 + 1?\n") == ("2", 11, 5)
        assert await ask(client, "bad", "What is 1 + 1?") == ("3", 11, 900)
        assert await ask(client, "mute", "What is 1 + 1?") == ("", 11, 7)
        assert await ask(client, "good@host", "What is 2 + 2?") == ("4", 12, 6)
        assert await ask(client, "good@host", "What is 2 + 2?") == ("4", 12, 6)
        assert [model.id async for model in client.models.list()] == ["bad", "good@host", "mute"]
    counts = sim.counts()
    assert counts["models"]["good@host"]["tokens"]["input"] == 11 + 12 + 12
    assert counts["models"]["good@host"]["tokens"]["output"] == 5 + 6 + 6
    assert {name: count["correct"] for name, count in counts["models"].items()} == {
        "good@host": 3,
        "bad": 0,
        "mute": 0,
    }
    assert [entry["correct"] for entry in sim.journal()] == [True, False, False, True, True]


async def test_what_is_not_recorded_is_not_found(folder: Path) -> None:
    async with simulator(replay=folder) as sim, openai_of(sim) as client:
        with pytest.raises(openai.NotFoundError) as raised:
            await ask(client, "good@host", "What is 3 + 3?")
        assert raised.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            await ask(client, "bad", "What is 2 + 2?")
        async with AsyncAnthropic(base_url=sim.url, api_key="k", max_retries=0) as other:
            with pytest.raises(anthropic.NotFoundError):
                await other.messages.create(
                    model="bad", max_tokens=1, messages=[{"role": "user", "content": "?"}]
                )
    counts = sim.counts()
    assert (counts["requests"], counts["answered"], counts["unknown"]) == (3, 0, 3)
    assert counts["tokens"]["input"] == 0


async def test_rules_hold_for_recordings(folder: Path) -> None:
    rules = [
        {"when": {"model": "bad"}, "fault": {"name": "status_error"}},
        {"when": {"prompt": "2 + 2"}, "answer": {"text": "five"}},
    ]
    async with simulator({"rules": rules}, replay=folder) as sim, openai_of(sim) as client:
        with pytest.raises(openai.InternalServerError):
            await ask(client, "bad", "What is 1 + 1?")
        assert (await ask(client, "anyone", "What is 2 + 2?"))[0] == "five"
        assert (await ask(client, "good@host", "What is 1 + 1?"))[0] == "2"


@pytest.mark.parametrize(
    "lines, complaint",
    [
        (None, "has none of"),
        (b"{}", "Field required"),
        (b'{"prompt": "a", "in_tokens": -1, "models": {}}', "greater than or equal"),
        (b'{"prompt": "a", "in_tokens": 1, "models": {"m": [1]}}', "Field required"),
        (orjson.dumps(ROWS[0]) + b"\n" + orjson.dumps(ROWS[0]), "same prompt"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    tmp_path: Path, lines: bytes | None, complaint: str
) -> None:
    if lines is not None:
        (tmp_path / "outcomes.jsonl").write_bytes(lines)
    with pytest.raises(ReplayError, match=complaint):
        read_recordings(tmp_path)
