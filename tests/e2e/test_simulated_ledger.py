"""What the ledger says was spent is what the provider counted, to the last digit."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import partial

import pytest

from benchmarks.soak.client import NAMES, Question, Reply
from infermesh import Outcome, TokenUsage, UsageEvent, UsageFilter
from tests.e2e.simulated.cases import WIRES
from tests.e2e.simulated.stand import PLAIN, Stand, at_once, new_id, stand, worth
from tools.simulator.counts import CountsReport, Tokens

pytestmark = pytest.mark.timeout(300)
REQUESTS = 400
QUESTIONS = 90
AT_ONCE = 16
MODELS = [f"{wire}.healthy" for wire in WIRES]
USAGES: dict[str, dict[str, int]] = {
    "plain": {"input": 14, "output": 7},
    "cached": {"input": 3, "cached_input": 1021, "output": 1},
    "written": {"input": 1, "cached_input": 7, "cache_write_input": 4099, "output": 13},
    "thought": {"input": 77, "output": 5, "reasoning": 907},
    "free": {"input": 0, "output": 0},
    "tools": {"input": 211, "cached_input": 5, "output": 19, "reasoning": 3},
}
CALL = [{"name": "weather", "arguments": {"city": "Paris"}}]
# Some fail, so that a failure among answers changes no sum.
FAILS = {"when": {"every": 23}, "fault": {"name": "status_error"}}


def answers() -> dict[str, object]:
    rules: list[dict[str, object]] = [FAILS]
    for name, usage in USAGES.items():
        answer: dict[str, object] = {"text": f"Of {name}.", "usage": usage}
        if name == "tools":
            answer["tool_calls"] = CALL
        rules.append({"when": {"prompt": f"<{name}>"}, "answer": answer})
    return {"rules": rules}


@dataclass
class Mix:
    """What was asked, what came of it, and what both sides have counted.

    Attributes:
        asked: questions with their replies.
        events: of the ledger.
        counts: of the provider.
    """

    asked: list[tuple[Question, Reply]]
    events: list[UsageEvent]
    counts: CountsReport


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with stand(tmp_path_factory.mktemp("ledger") / "mesh", []) as started:
        yield started


@pytest.fixture(scope="module")
def mix(running: Stand) -> Mix:
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    running.simulators.main.load(answers())
    running.simulators.main.reset()
    questions = [drawn_question(drawn, running.keys[PLAIN]) for _ in range(REQUESTS)]
    controls = ["bypass" if drawn.random() < 0.1 else "" for _ in questions]

    async def ask_all() -> list[Reply | BaseException]:
        async with running.client() as client:
            calls = [
                partial(client.ask, question, control)
                for question, control in zip(questions, controls, strict=True)
            ]
            return await at_once(calls, AT_ONCE)

    asked = []
    for question, reply in zip(questions, asyncio.run(ask_all()), strict=True):
        if isinstance(reply, BaseException):
            raise AssertionError(question) from reply
        asked.append((question, reply))
    counts = running.simulators.main.counts()
    return Mix(asked, running.events("mix", REQUESTS), counts)


def drawn_question(drawn: random.Random, key: str) -> Question:
    surface = drawn.choice(NAMES)
    # A completion has no place for a call of a tool.
    kinds = [name for name in USAGES if (surface, name) != ("completions", "tools")]
    number = drawn.randrange(QUESTIONS // len(USAGES) // len(MODELS) + 1)
    text = f"<{drawn.choice(kinds)}> What of number {number}?"
    model, stream = drawn.choice(MODELS), drawn.random() < 0.5
    return Question(surface, stream, model, text, new_id(), key, "mix")


def tokens_of(usage: TokenUsage) -> Tokens:
    counted = {field.name: getattr(usage, field.name) for field in fields(usage)}
    assert not counted["batch_input_tokens"] and not counted["batch_output_tokens"]
    return {
        "input": counted["input_tokens"],
        "cached_input": counted["cached_input_tokens"],
        "cache_write_input": counted["cache_write_input_tokens"],
        "output": counted["output_tokens"],
        "reasoning": counted["reasoning_tokens"],
    }


def test_the_mix_is_one(mix: Mix) -> None:
    """Else what follows would prove little."""
    caches = Counter(event.decision.cache_status.value for event in mix.events)
    outcomes = Counter(event.outcome for event in mix.events)
    assert min(caches["miss"], caches["hit"], caches["bypass"], outcomes[Outcome.FAILED]) >= 5
    assert mix.counts["answered"] > REQUESTS / 5
    assert all(mix.counts["tokens"].values())
    assert {event.protocol for event in mix.events} >= {"openai.chat", "openai.completions"}


def test_each_request_is_one_event_that_says_what_the_client_saw(mix: Mix) -> None:
    assert len(mix.events) == REQUESTS
    by_request = {event.request_id: event for event in mix.events}
    assert by_request.keys() == {question.request_id for question, _ in mix.asked}
    for question, reply in mix.asked:
        event = by_request[question.request_id]
        told = (question, reply, event)
        assert (event.outcome is Outcome.SUCCEEDED) == reply.good, told
        assert event.requested_model == question.model, told
        if not reply.good:
            assert reply.status == 503 and event.decision.cost is None, told
            continue
        assert reply.said.text == f"Of {question.text[1:].partition('>')[0]}.", told
        assert reply.cache == event.decision.cache_status.value, told
        if "x-infermesh-cost-usd" in reply.headers:
            assert Decimal(reply.headers["x-infermesh-cost-usd"]) == event.decision.cost, told


@pytest.mark.parametrize("model", MODELS)
def test_spend_and_tokens_of_a_model_are_what_the_provider_counted(
    running: Stand, mix: Mix, model: str
) -> None:
    counted = mix.counts["models"][model]
    mine = [event for event in mix.events if event.decision.model == model]
    called = [
        event
        for event in mine
        if event.outcome is Outcome.SUCCEEDED
        and event.decision.cache_status.value not in ("hit", "shared")
    ]
    assert len(called) == counted["answered"]
    spent = sum((event.decision.cost or Decimal(0) for event in mine), Decimal(0))
    assert spent == worth(counted["tokens"])
    (row,) = running.operator.usage(["model"], UsageFilter(tag="mix", model=model))
    assert row.cost == spent
    assert tokens_of(row.usage) == counted["tokens"]
    assert row.unpriced_requests == 0 or row.failures > 0
