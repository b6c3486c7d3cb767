"""Google's own SDK takes the simulator for Gemini."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from google.genai import Client, errors
from google.genai.client import AsyncClient
from google.genai.types import FinishReason, HttpOptions

from tools.simulator.server import Simulator

MODEL = "gemini-1.5-flash"


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncClient]:
    async with Client(api_key="k", http_options=HttpOptions(base_url=sim.url)).aio as made:
        yield made


async def streamed(client: AsyncClient, prompt: str) -> list[Any]:
    stream = await client.models.generate_content_stream(model=MODEL, contents=prompt)
    return [response async for response in stream]


def parts(responses: list[Any]) -> list[Any]:
    return [part for response in responses for part in response.candidates[0].content.parts]


async def whole(client: AsyncClient, prompt: str) -> list[Any]:
    return [await client.models.generate_content(model=MODEL, contents=prompt)]


# All fields of a response may be None: whether they are is what is tested.
Ask = Callable[[AsyncClient, str], Awaitable[list[Any]]]
both = pytest.mark.parametrize("ask", [whole, streamed])


@both
async def test_an_answer_has_text_and_usage(client: AsyncClient, ask: Ask) -> None:
    responses = await ask(client, "the weather?")
    assert "".join(part.text for part in parts(responses)) == "It rains."
    last = responses[-1]
    assert last.model_version == MODEL
    assert last.candidates[0].finish_reason is FinishReason.STOP
    usage = last.usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (150, 100)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (12, 5)
    assert usage.total_token_count == 167
    assert [response.usage_metadata for response in responses[:-1]] == [None] * (len(responses) - 1)


@both
async def test_thoughts_and_tools_are_parts(client: AsyncClient, ask: Ask) -> None:
    responses = await ask(client, "use tools")
    found = parts(responses)
    thoughts = "".join(part.text for part in found if part.thought)
    assert thoughts == "They ask for the weather."
    calls = [part.function_call for part in found if part.function_call]
    assert [(call.name, call.args) for call in calls] == [
        ("get_weather", {"city": "Paris", "days": [1, 2]}),
        ("get_time", {}),
    ]
    assert responses[-1].candidates[0].finish_reason is FinishReason.STOP


@both
@pytest.mark.parametrize(
    "prompt, reason",
    [("a long one", FinishReason.MAX_TOKENS), ("a filtered one", FinishReason.SAFETY)],
)
async def test_finish_reasons(
    client: AsyncClient, ask: Ask, prompt: str, reason: FinishReason
) -> None:
    assert (await ask(client, prompt))[-1].candidates[0].finish_reason is reason


@both
async def test_a_limit_says_in_its_details_when_to_come_again(
    client: AsyncClient, ask: Ask
) -> None:
    with pytest.raises(errors.ClientError, match="Not so fast") as raised:
        await ask(client, "limited")
    assert (raised.value.code, raised.value.status) == (429, "RESOURCE_EXHAUSTED")
    details = raised.value.details["error"]["details"]
    delays = [item["retryDelay"] for item in details if item["@type"].endswith("RetryInfo")]
    assert delays == ["7s"]


async def test_errors_are_the_sdks_errors(client: AsyncClient) -> None:
    with pytest.raises(errors.ClientError, match="UNAUTHENTICATED"):
        await whole(client, "denied")
    with pytest.raises(errors.ServerError, match="INTERNAL"):
        await whole(client, "broken")


async def test_an_error_among_the_events_is_raised(client: AsyncClient, sim: Simulator) -> None:
    fault = {"name": "mid_stream_error_event", "after_events": 1}
    await sim.load({"rules": [{"fault": fault}]})
    with pytest.raises(errors.ServerError, match="Overloaded"):
        await streamed(client, "hello")
