"""Anthropic's own SDK takes the simulator for Anthropic."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message

from tools.simulator.server import Simulator

MODEL = "claude-simulated"


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=sim.url, api_key="k", max_retries=0) as made:
        yield made


async def whole(client: AsyncAnthropic, prompt: str) -> Message:
    return await client.messages.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": prompt}]
    )


async def streamed(client: AsyncAnthropic, prompt: str) -> Message:
    async with client.messages.stream(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": prompt}]
    ) as stream:
        return await stream.get_final_message()


# Which of its kinds a block is shows when it is read.
Ask = Callable[[AsyncAnthropic, str], Awaitable[Any]]
both = pytest.mark.parametrize("ask", [whole, streamed])


@both
async def test_a_message_has_text_and_usage(client: AsyncAnthropic, ask: Ask) -> None:
    said = await ask(client, "the weather?")
    assert [block.text for block in said.content] == ["It rains."]
    assert (said.model, said.role, said.stop_reason) == (MODEL, "assistant", "end_turn")
    usage = said.usage
    assert (usage.input_tokens, usage.output_tokens) == (20, 17)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (100, 30)
    assert usage.output_tokens_details.thinking_tokens == 5


@both
async def test_thinking_and_tools_are_blocks(client: AsyncAnthropic, ask: Ask) -> None:
    said = await ask(client, "use tools")
    thinking, weather, time = said.content
    assert (thinking.type, thinking.thinking) == ("thinking", "They ask for the weather.")
    assert thinking.signature
    assert (weather.type, weather.name) == ("tool_use", "get_weather")
    assert weather.input == {"city": "Paris", "days": [1, 2]}
    assert (time.name, time.input) == ("get_time", {})
    assert weather.id != time.id
    assert said.stop_reason == "tool_use"


@both
@pytest.mark.parametrize(
    "prompt, reason, sequence",
    [
        ("a long one", "max_tokens", None),
        ("a filtered one", "refusal", None),
        ("a stopped one", "stop_sequence", "###"),
    ],
)
async def test_stop_reasons(
    client: AsyncAnthropic, ask: Ask, prompt: str, reason: str, sequence: str | None
) -> None:
    said = await ask(client, prompt)
    assert (said.stop_reason, said.stop_sequence) == (reason, sequence)


async def test_events_come_in_the_documented_order(client: AsyncAnthropic) -> None:
    stream = await client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        stream=True,
    )
    kinds = [event.type async for event in stream]
    deltas = ["content_block_delta"] * 4
    assert kinds == [
        "message_start",
        "content_block_start",
        *deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@both
async def test_a_limit_is_the_sdks_limit_with_its_headers(client: AsyncAnthropic, ask: Ask) -> None:
    with pytest.raises(anthropic.RateLimitError, match="Not so fast") as raised:
        await ask(client, "limited")
    headers = raised.value.response.headers
    assert headers["retry-after"] == "7"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert headers["anthropic-ratelimit-input-tokens-reset"]
    assert raised.value.type == "rate_limit_error"
    assert raised.value.request_id


async def test_errors_are_the_sdks_errors(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        await whole(client, "denied")
    with pytest.raises(anthropic.InternalServerError):
        await whole(client, "broken")
    with pytest.raises(anthropic.BadRequestError, match="no messages"):
        await client.messages.create(model=MODEL, max_tokens=1, messages=[])


async def test_an_error_among_the_events_is_raised(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
        await streamed(client, "overloaded")
