"""The form of every benchmark's result: a table to read and a JSON file to compare."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"

# None: it was not measured.
Figure = float | int | None | dict[str, float]


def machine() -> str:
    """What it ran on, in a few words."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}"


def report(
    name: str,
    figures: Mapping[str, Figure],
    *,
    method: str,
    data: str,
    details: Mapping[str, object] | None = None,
) -> Path:
    """Prints the figures and writes `build/bench/<name>.json`.

    Args:
        name: of the benchmark.
        figures: values by name; units are in the names.
        method: how they were measured, in a sentence or two.
        data: what they were measured on.
        details: more for the file, by key.

    Returns:
        The file written.
    """
    table = Table(title=f"bench-{name}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for figure, value in figures.items():
        if value is None:
            table.add_row(figure, "not measured")
        elif isinstance(value, dict):
            for part, inner in value.items():
                table.add_row(f"{figure}.{part}", f"{inner:,.1f}")
        else:
            table.add_row(figure, f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4f}")
    Console().print(table)
    print(f"{method}\nData: {data}. {machine()}.")
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / f"{name}.json"
    content = {"figures": dict(figures), "method": method, "data": data, "machine": machine()}
    file.write_text(json.dumps({**content, **(details or {})}, indent=2) + "\n")
    print(f"written to {file.relative_to(ROOT)}")
    return file
