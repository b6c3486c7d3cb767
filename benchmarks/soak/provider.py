"""A simulator in a process of its own, and its control."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.request import Request, urlopen

from benchmarks.processes import NotReady, alive, running, wait_until
from benchmarks.soak.scripts import Script
from tools.simulator.counts import CountsReport

_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Provider:
    """A running one.

    Attributes:
        url: of its wires, without a path.
        control_url: never fails.
    """

    url: str
    control_url: str

    def counts(self) -> CountsReport:
        """Since its start or the last reset."""
        with urlopen(f"{self.control_url}/_simulator/counts", timeout=_TIMEOUT_S) as response:
            return cast(CountsReport, json.load(response))

    def load(self, script: Script) -> None:
        """Puts a script into force; counts go on."""
        self._send("PUT", "script", json.dumps(script).encode())

    def reset(self) -> None:
        """Counts from the start."""
        self._send("POST", "reset", b"")

    def _send(self, method: str, what: str, data: bytes) -> None:
        request = Request(f"{self.control_url}/_simulator/{what}", data, method=method)
        with urlopen(request, timeout=_TIMEOUT_S):
            pass


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """Runs while the block does.

    Raises:
        NotReady: it does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "simulator.log"
        command = (sys.executable, "-m", "tools.simulator", "--port", "0", "--journal", "0")
        with running(*command, log=log) as pid:
            wait_until(lambda: "\n" in log.read_text() or not alive(pid), "the simulator's start")
            first = log.read_text().partition("\n")[0]
            if not alive(pid) or not first.startswith("{"):
                raise NotReady(f"the simulator does not start: {log.read_text()[-600:]}")
            told = json.loads(first)
            host = "http://127.0.0.1"
            yield Provider(f"{host}:{told['port']}", f"{host}:{told['control_port']}")
