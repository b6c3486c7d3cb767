"""OpenAI's own SDK takes the simulator for OpenAI."""

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from tools.simulator.server import Simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sim.url}/v1", api_key="k", max_retries=0) as made:
        yield made


def asked(prompt: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]


async def streamed(client: AsyncOpenAI, prompt: str) -> list[ChatCompletionChunk]:
    stream = await client.chat.completions.create(
        model="gpt-4o",
        messages=asked(prompt),
        stream=True,
        stream_options={"include_usage": True},
    )
    return [chunk async for chunk in stream]


async def test_a_chat_completion_has_text_and_usage(client: AsyncOpenAI) -> None:
    said = await client.chat.completions.create(model="gpt-4o", messages=asked("the weather?"))
    assert said.model == "gpt-4o"
    assert said.choices[0].message.content == "It rains."
    assert said.choices[0].finish_reason == "stop"
    usage = said.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (150, 17, 167)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 100
    assert usage.prompt_tokens_details.cache_write_tokens == 30
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 5


async def test_a_stream_says_the_same_as_a_whole_answer(client: AsyncOpenAI) -> None:
    chunks = await streamed(client, "the weather?")
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "It rains."
    assert deltas[0].role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    usage = chunks[-1].usage
    assert usage is not None and (usage.prompt_tokens, usage.completion_tokens) == (150, 17)
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_a_stream_has_usage_only_when_asked_for(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=asked("hello"), stream=True
    )
    assert [chunk async for chunk in stream if chunk.usage] == []


async def test_tools_are_called(client: AsyncOpenAI) -> None:
    said = await client.chat.completions.create(model="gpt-4o", messages=asked("use tools"))
    calls = said.choices[0].message.tool_calls or []
    found = [
        (call.function.name, call.function.arguments) for call in calls if call.type != "custom"
    ]
    assert found == [("get_weather", '{"city":"Paris","days":[1,2]}'), ("get_time", "{}")]
    assert len({call.id for call in calls}) == 2
    assert said.choices[0].finish_reason == "tool_calls"
    assert said.choices[0].message.content is None


async def test_the_sdk_puts_streamed_tool_calls_together(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="gpt-4o", messages=asked("use tools")) as run:
        said = await run.get_final_completion()
    calls = said.choices[0].message.tool_calls or []
    found = [(call.function.name, call.function.arguments) for call in calls]
    assert found == [("get_weather", '{"city":"Paris","days":[1,2]}'), ("get_time", "{}")]


@pytest.mark.parametrize(
    "prompt, finish", [("a long one", "length"), ("a filtered one", "content_filter")]
)
async def test_finish_reasons(client: AsyncOpenAI, prompt: str, finish: str) -> None:
    said = await client.chat.completions.create(model="gpt-4o", messages=asked(prompt))
    assert said.choices[0].finish_reason == finish
    assert finish in {
        c.choices[0].finish_reason for c in await streamed(client, prompt) if c.choices
    }


async def test_a_limit_is_the_sdks_limit_with_its_headers(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError, match="Not so fast") as raised:
        await streamed(client, "limited")
    headers = raised.value.response.headers
    assert headers["retry-after"] == "7"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-tokens"] == "7s"
    assert raised.value.code == "rate_limit_exceeded"


async def test_errors_are_the_sdks_errors(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await client.chat.completions.create(model="gpt-4o", messages=asked("denied"))
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="gpt-4o", messages=asked("broken"))
    with pytest.raises(openai.BadRequestError, match="no messages"):
        await client.chat.completions.create(model="gpt-4o", messages=[])
    with pytest.raises(openai.NotFoundError):
        await client.files.list()


async def test_an_error_among_the_events_is_raised(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError, match="Overloaded"):
        await streamed(client, "overloaded")


async def test_completions(client: AsyncOpenAI) -> None:
    said = await client.completions.create(model="davinci", prompt="the weather?")
    assert said.choices[0].text == "It rains."
    assert said.usage is not None and said.usage.total_tokens == 167
    stream = await client.completions.create(model="davinci", prompt="the weather?", stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "It rains."
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_embeddings_depend_on_the_text_only(client: AsyncOpenAI) -> None:
    one = await client.embeddings.create(model="e", input=["rain", "sun"], dimensions=16)
    floats = await client.embeddings.create(
        model="e", input="rain", dimensions=16, encoding_format="float"
    )
    rain, sun = (item.embedding for item in one.data)
    assert rain == pytest.approx(floats.data[0].embedding, abs=1e-6)
    assert rain != sun
    assert sum(value * value for value in rain) == pytest.approx(1, abs=1e-5)
    assert one.usage.total_tokens == 14


async def test_models_are_those_of_the_script(client: AsyncOpenAI, sim: Simulator) -> None:
    await sim.load({"models": ["gpt-4o", "o1"]})
    assert [model.id async for model in client.models.list()] == ["gpt-4o", "o1"]


async def test_a_deployment_of_azure_is_the_model(sim: Simulator) -> None:
    async with AsyncAzureOpenAI(
        azure_endpoint=sim.url, api_key="k", api_version="2024-10-21", max_retries=0
    ) as azure:
        said = await azure.chat.completions.create(model="my-gpt", messages=asked("hello"))
    assert said.choices[0].message.content == "Paris is the capital of France."
    assert sim.journal()[-1]["model"] == "my-gpt"


async def test_reasoning_is_told_apart_from_text(client: AsyncOpenAI) -> None:
    said = await client.chat.completions.create(model="r1", messages=asked("think"))
    extra = said.choices[0].message.model_extra or {}
    assert extra["reasoning_content"] == "Clouds, then."
    deltas = [c.choices[0].delta for c in await streamed(client, "think") if c.choices]
    reasoned = [(delta.model_extra or {}).get("reasoning_content", "") for delta in deltas]
    assert "".join(reasoned) == "Clouds, then."
