"""A cluster of answers: commands that are remembered, and what they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.fake_commands import Commands
from tests.cluster.kubectl import Kubectl


@pytest.fixture
def commands() -> Commands:
    """The runner."""
    return Commands()


@pytest.fixture
def kubectl(commands: Commands) -> Kubectl:
    """kubectl by that runner, in the namespace "here"."""
    return Kubectl(Path("/kubectl"), Path("/config"), "here", commands)


@pytest.fixture
def failing_pod() -> dict[str, object]:
    """A pod whose container has ended several times."""
    return {
        "kind": "Pod",
        "metadata": {"name": "router-1"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [
                {
                    "name": "router",
                    "restartCount": 4,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}},
                }
            ],
        },
    }
