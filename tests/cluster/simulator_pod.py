"""The provider simulator in its pod: what it is to do, and what it did."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.cluster.documents import name
from tests.cluster.kubectl import Kubectl

_ASK = (
    "import sys, urllib.request as r;"
    " q = r.Request('http://127.0.0.1:8081/_simulator/' + sys.argv[2],"
    " sys.argv[3].encode() or None, method=sys.argv[1]);"
    " sys.stdout.write(r.urlopen(q, timeout=10).read().decode())"
)


class SimulatorPod:
    """Steers it; tools/simulator says what a script is.

    Args:
        kubectl: in its namespace.
    """

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def script(self, script: Mapping[str, object]) -> None:
        """Puts another script in force, and forgets the counts."""
        self._ask("PUT", "script", json.dumps(script))
        self._ask("POST", "reset")

    def answered(self) -> int:
        """Answers sent whole since the counts were forgotten."""
        counts = json.loads(self._ask("GET", "counts"))
        return int(counts["answered"])

    def _ask(self, method: str, path: str, body: str = "") -> str:
        (pod,) = self._kubectl.list("pods", "app=simulator")
        return self._kubectl.exec(name(pod), "python", "-c", _ASK, method, path, body)
