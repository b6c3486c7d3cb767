"""What tests on a cluster measure, in build/bench/cluster.json."""

from __future__ import annotations

import json
import re

from tests.cluster.settings import ROOT

_KILL = re.compile(r"kill_\w+_failed_requests")
FILE = ROOT / "build" / "bench" / "cluster.json"


def record(**figures: float) -> None:
    """Adds figures, with their units in their names, and prints them."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(FILE.read_text()) if FILE.is_file() else {}
    known.update(figures)
    kills = [count for name, count in known.items() if _KILL.fullmatch(name)]
    if kills:
        known["kill_failed_requests"] = sum(kills)
    FILE.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    for name, value in figures.items():
        print(f"{name} {value:g}")
