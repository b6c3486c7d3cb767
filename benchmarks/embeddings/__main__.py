"""`make bench-embeddings`: the embedding models beside each other, and which is the default.

Each model in a process of its own, one after another, through the engine of the service, which
remembers nothing here. `rss_mb` is what the process grew by; of `remote` it includes the server,
llama.cpp with SmolLM2-135M, a chat model and no embedding model: it stands for the protocol and for
what a small local server costs, not for the quality of a hosted embedder.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.embeddings.engines import LOCAL, serving_model
from benchmarks.embeddings.quality import DELTA
from benchmarks.processes import NotReady
from benchmarks.report import Figure, report

DEFAULT = "minilm-int8"
SLOWEST_MS = 60.0
"""Gate of a semantic lookup, p95, embedding included."""
Measured = dict[str, dict[str, float]]


def measured_in_a_process(name: str, data: Path, *server: int) -> dict[str, float]:
    """Figures of one model.

    Raises:
        NotReady: its process failed.
    """
    arguments = [name, str(data), *map(str, server)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.embeddings.worker", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NotReady(f"{name} could not be measured")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def mean_hit_rate(figures: dict[str, float]) -> float:
    """Over the sets."""
    rates = [value for name, value in figures.items() if name.endswith("hit_rate")]
    return sum(rates) / len(rates)


def conclusion(measured: Measured) -> str:
    """Which model these figures speak for, in words."""
    fit = [
        name for name in measured if name != "remote" and measured[name]["p95_ms_at_1"] < SLOWEST_MS
    ]
    if not fit:
        return f"No model embeds within {SLOWEST_MS:.0f} ms (p95) on this machine today."
    best = max(mean_hit_rate(measured[name]) for name in fit)
    # Within a point of the best is as good; of those the smallest in memory.
    good = [name for name in fit if mean_hit_rate(measured[name]) >= best - 0.01]
    chosen = min(good, key=lambda name: measured[name]["rss_mb"])
    figures = measured[chosen]
    return (
        f"These figures speak for {chosen}: {mean_hit_rate(figures):.1%} hits in the mean of the "
        f"sets at {DELTA:.0%} error (best {best:.1%}), {figures['p95_ms_at_1']:.1f} ms p95, "
        f"{figures['rss_mb']:.0f} MB. The default is {DEFAULT}."
    )


def main() -> int:
    """Runs the benchmark; 2 when it cannot run here."""
    data = Path(os.environ.get("INFERMESH_DATA", "../shared/data"))
    measured: Measured = {}
    try:
        for name in LOCAL:
            measured[name] = measured_in_a_process(name, data)
            print(name, json.dumps(measured[name]))
        with (
            tempfile.TemporaryDirectory() as folder,
            serving_model(Path(folder)) as (port, pid),
        ):
            measured["remote"] = measured_in_a_process("remote", data, port, pid)
    except NotReady as error:
        print(error, file=sys.stderr)
        return 2
    figures: dict[str, Figure] = {}
    for name, values in measured.items():
        figures[name] = values
    report(
        "embeddings",
        figures,
        method=(
            "one process a model; requests of one text, alone and 16 at a time; hit_rate at the "
            f"best static threshold in hindsight with at most {DELTA:.0%} of all wrong; area under "
            "the curve of right against wrong nearest neighbours; rates are shares"
        ),
        data=f"train rows of banking77 and clinc150, pairs of QQP, below {data}",
        details={"conclusion": conclusion(measured)},
    )
    names = list(measured)
    print(f"{'':22}", *(f"{name:>12}" for name in names))
    for figure in measured[names[0]]:
        print(f"{figure:22}", *(f"{measured[name][figure]:12.3f}" for name in names))
    print(conclusion(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
