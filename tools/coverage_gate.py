"""Refuses a package of the workspace whose tests cover less than its share of lines."""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST_PERCENT = 90.0


def package_of(file: str) -> str | None:
    """The import package a source file belongs to; None for generated code."""
    parts = Path(file).parts
    if "src" not in parts or file.endswith(("_pb2.py", "_pb2_grpc.py")):
        return None
    return parts[parts.index("src") + 1]


def measured(report: dict[str, dict[str, dict[str, dict[str, int]]]]) -> dict[str, float]:
    """Percent of lines covered, by package."""
    covered: dict[str, int] = defaultdict(int)
    lines: dict[str, int] = defaultdict(int)
    for file, data in report["files"].items():
        if (package := package_of(file)) is not None:
            covered[package] += data["summary"]["covered_lines"]
            lines[package] += data["summary"]["num_statements"]
    return {name: 100.0 * covered[name] / lines[name] for name in lines if lines[name]}


def main() -> int:
    """Prints each package's coverage; 1 when one is below the gate, or none was measured."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "coverage.json"
        command = [sys.executable, "-m", "coverage"]
        subprocess.run([*command, "combine", "--quiet"], cwd=ROOT, check=False)
        subprocess.run([*command, "json", "-q", "-o", str(out)], cwd=ROOT, check=True)
        shares = measured(json.loads(out.read_text()))
    for name, share in sorted(shares.items()):
        print(f"{share:6.1f} %  {name}{'' if share >= LEAST_PERCENT else '  BELOW THE GATE'}")
    expected = {path.parent.name for path in ROOT.glob("*/*/src/*/__init__.py")}
    missing = expected - shares.keys()
    if missing:
        print("not measured at all:", ", ".join(sorted(missing)))
    return 1 if missing or any(share < LEAST_PERCENT for share in shares.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
