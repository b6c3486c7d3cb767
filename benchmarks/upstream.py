"""The provider behind every gateway: a simulator that answers at once, always the same."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from benchmarks.processes import NotReady, alive, running, wait_until
from benchmarks.target import QUESTION, Target, ask


@dataclass(frozen=True)
class Upstream:
    """A running one.

    Attributes:
        port: on loopback, of the provider's wires.
        control_port: on loopback, where it tells what it counted.
        pid: of its process.
    """

    port: int
    control_port: int
    pid: int

    @property
    def base_url(self) -> str:
        """What gateways are told."""
        return f"http://127.0.0.1:{self.port}/v1"

    def target(self, *, stream: bool = False) -> Target:
        """Asks it directly."""
        return Target(self.port, "fixed", stream=stream)

    def answer(self) -> bytes:
        """The body of its answer."""
        return ask(self.target(), QUESTION).body

    def requests(self) -> int:
        """How many requests it has seen."""
        url = f"http://127.0.0.1:{self.control_port}/_simulator/counts"
        with urlopen(url, timeout=10) as response:
            return int(json.load(response)["requests"])


@contextlib.contextmanager
def fixed_upstream() -> Iterator[Upstream]:
    """Runs while the block does.

    Raises:
        NotReady: it does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "simulator.log"
        command = (sys.executable, "-m", "tools.simulator", "--port", "0", "--latency-ms", "0")
        with running(*command, log=log) as pid:
            wait_until(lambda: "\n" in log.read_text() or not alive(pid), "the simulator's start")
            first = log.read_text().partition("\n")[0]
            if not alive(pid) or not first.startswith("{"):
                raise NotReady(f"the simulator does not start: {log.read_text()[-600:]}")
            told = json.loads(first)
            yield Upstream(told["port"], told["control_port"], pid)
