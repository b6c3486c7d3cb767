"""A simulator for each test, in its event loop."""

from collections.abc import AsyncIterator

import pytest

from tools.simulator.server import Simulator, simulator
from tools.simulator.testing import Speaker

SAID = {
    "text": "It rains.",
    "usage": {
        "input": 20,
        "cached_input": 100,
        "cache_write_input": 30,
        "output": 12,
        "reasoning": 5,
    },
}
TOOLS = {
    "reasoning": "They ask for the weather.",
    "tool_calls": [
        {"name": "get_weather", "arguments": {"city": "Paris", "days": [1, 2]}},
        {"name": "get_time", "arguments": {}},
    ],
    "usage": {"input": 3, "output": 4},
}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """With a script that answers by what is asked."""
    script = {
        "rules": [
            {"when": {"prompt": "weather"}, "answer": SAID},
            {"when": {"prompt": "tools"}, "answer": TOOLS},
            {"when": {"prompt": "think"}, "answer": {**SAID, "reasoning": "Clouds, then."}},
            {"when": {"prompt": "long"}, "answer": {"finish": "length"}},
            {"when": {"prompt": "filtered"}, "answer": {"finish": "content_filter"}},
            {"when": {"prompt": "stopped"}, "answer": {"stop_sequence": "###"}},
            {
                "when": {"prompt": "limited"},
                "fault": {"name": "rate_limited", "retry_after_s": 7, "message": "Not so fast."},
            },
            {"when": {"prompt": "denied"}, "fault": {"name": "status_error", "status": 401}},
            {"when": {"prompt": "broken"}, "fault": {"name": "status_error"}},
            {
                "when": {"prompt": "overloaded"},
                "fault": {"name": "mid_stream_error_event", "after_events": 3},
            },
        ]
    }
    async with simulator(script) as running:
        yield running


@pytest.fixture
def speaker(sim: Simulator) -> Speaker:
    """Speaks to `sim`."""
    return Speaker(sim)
