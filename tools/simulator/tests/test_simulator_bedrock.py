"""AWS's own library takes the simulator for Bedrock."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.session import Session

from tools.simulator.server import SimulatorInThread, simulator_in_thread

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
USAGE = {"input": 20, "cached_input": 100, "cache_write_input": 30, "output": 12, "reasoning": 5}
CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}
RULES = [
    {"when": {"prompt": "weather"}, "answer": {"text": "It rains.", "usage": USAGE}},
    {"when": {"prompt": "tools"}, "answer": {"reasoning": "Weather, then.", "tool_calls": [CALL]}},
    {"when": {"prompt": "limited"}, "fault": {"name": "rate_limited"}},
    {"when": {"prompt": "overloaded"}, "fault": {"name": "mid_stream_error_event"}},
]
# The methods of a client are made of AWS's description when it is.
Client = Any


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorInThread]:
    with simulator_in_thread({"rules": RULES}) as running:
        yield running


@pytest.fixture(scope="module")
def client(sim: SimulatorInThread) -> Iterator[Client]:
    made = Session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=sim.url,
        aws_access_key_id="id",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield made
    made.close()


def asked(prompt: str) -> dict[str, object]:
    return {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": prompt}]}]}


def test_an_answer_has_text_and_usage(client: Client, sim: SimulatorInThread) -> None:
    said = client.converse(**asked("the weather?"))
    assert said["output"]["message"]["content"] == [{"text": "It rains."}]
    assert said["stopReason"] == "end_turn"
    assert said["usage"] == {
        "inputTokens": 20,
        "outputTokens": 17,
        "totalTokens": 167,
        "cacheReadInputTokens": 100,
        "cacheWriteInputTokens": 30,
    }
    assert sim.journal()[-1]["model"] == MODEL


def test_a_stream_is_decoded_with_its_checksums(client: Client) -> None:
    events = list(client.converse_stream(**asked("the weather?"))["stream"])
    deltas = [
        event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event
    ]
    assert "".join(delta["text"] for delta in deltas) == "It rains."
    assert events[0] == {"messageStart": {"role": "assistant"}}
    assert events[-2] == {"messageStop": {"stopReason": "end_turn"}}
    assert events[-1]["metadata"]["usage"]["totalTokens"] == 167


def test_reasoning_and_tools_are_blocks(client: Client) -> None:
    reasoning, call = client.converse(**asked("tools"))["output"]["message"]["content"]
    assert reasoning["reasoningContent"]["reasoningText"]["text"] == "Weather, then."
    assert call["toolUse"]["name"] == "get_weather"
    assert call["toolUse"]["input"] == {"city": "Paris"}
    events = list(client.converse_stream(**asked("tools"))["stream"])
    starts = [
        event["contentBlockStart"]["start"] for event in events if "contentBlockStart" in event
    ]
    assert [start["toolUse"]["name"] for start in starts] == ["get_weather"]
    deltas = [
        event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event
    ]
    inputs = [delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta]
    assert "".join(inputs) == '{"city":"Paris"}'
    assert {"messageStop": {"stopReason": "tool_use"}} in events


def test_a_limit_is_a_throttling_exception(client: Client) -> None:
    for ask in (client.converse, client.converse_stream):
        with pytest.raises(ClientError) as raised:
            ask(**asked("limited"))
        assert raised.value.response["Error"]["Code"] == "ThrottlingException"
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429


def test_an_error_among_the_events_is_raised(client: Client) -> None:
    with pytest.raises(EventStreamError, match="serviceUnavailableException.*Overloaded"):
        list(client.converse_stream(**asked("overloaded"))["stream"])
