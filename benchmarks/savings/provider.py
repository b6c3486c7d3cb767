"""The provider simulator, answering from the records."""

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.processes import running, wait_until
from benchmarks.savings.books import Counted
from infermesh_common.testing.servers import free_port

_TIMEOUT_S = 30


class ReplayProvider:
    """A simulator that runs.

    Args:
        port: on loopback.
    """

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"

    @property
    def base_url(self) -> str:
        """What a Provider resource names."""
        return f"{self._root}/v1"

    def counted(self) -> dict[str, Counted]:
        """Tokens of all answers so far, by the name of the model.

        Raises:
            OSError: it does not answer.
        """
        counts = f"{self._root}/_simulator/counts"
        with urllib.request.urlopen(counts, timeout=_TIMEOUT_S) as response:
            found = json.loads(response.read())
        return {name: tokens_of(model["tokens"]) for name, model in found["models"].items()}


def tokens_of(buckets: Mapping[str, int]) -> Counted:
    """What a replayed model used: the records know nothing but input and output.

    Raises:
        ValueError: there are tokens of other kinds, whose price nobody stated.
    """
    known = Counted(buckets["input"], buckets["output"])
    if sum(buckets.values()) != known.input_tokens + known.output_tokens:
        raise ValueError(f"the simulator counted other tokens than input and output: {buckets}")
    return known


@contextlib.contextmanager
def replaying(folder: Path) -> Iterator[ReplayProvider]:
    """A simulator in replay mode on the records of `folder`, while the block runs.

    Raises:
        NotReady: it does not answer.
    """
    port = free_port()
    options = ("--port", str(port), "--replay", str(folder))
    with running(sys.executable, "-m", "tools.simulator", *options):
        provider = ReplayProvider(port)
        wait_until(lambda: _answers(provider), "the simulator's first answer")
        yield provider


def _answers(provider: ReplayProvider) -> bool:
    try:
        provider.counted()
    except OSError:
        return False
    return True
