"""`make bench-cache-latency`: what a lookup costs, by how much is stored.

SIZES: numbers of entries, ascending; 10000,100000,1000000 unless given. MILVUS_SIZE: records of the
Milvus path, on Milvus Lite; 5000 unless given, 0 for none. Tier 2 is the embedding of one question
(MiniLM int8, one thread) and the search of the tenant's vectors, through the same objects as in the
service; the vectors are made as `questions` says.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.cache_latency import exact, store, vectors
from benchmarks.cache_latency.minilm import MiniLm, MissingModel
from benchmarks.cache_latency.questions import questions
from benchmarks.report import ROOT, Figure, report

_QUESTIONS, _SEED, _HELD_OUT_EVERY = 30_000, 1, 60
_SIZES, _MILVUS_SIZE = "10000,100000,1000000", "5000"
GATE_P95_MS, GATE_GROWTH, GATE_RECALL = 60.0, 2.0, 0.98


def _p(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent))


def figures_of(
    tier1: Mapping[int, Sequence[float]], tier2: Mapping[int, vectors.AtSize]
) -> dict[str, Figure]:
    """Figures by name; those of the largest size under their own names, all of them by size."""
    largest, smallest = tier2[max(tier2)], tier2[min(tier2)]
    growth = _p(largest.total_ms, 95) / _p(smallest.total_ms, 95)
    by_size: dict[str, dict[str, float]] = {
        "tier1_p50_ms": {str(n): _p(ms, 50) for n, ms in tier1.items()},
        "tier1_p95_ms": {str(n): _p(ms, 95) for n, ms in tier1.items()},
        "embedding_p50_ms": {str(n): _p(at.embedding_ms, 50) for n, at in tier2.items()},
        "embedding_p95_ms_by_size": {str(n): _p(at.embedding_ms, 95) for n, at in tier2.items()},
        "index_p50_ms": {str(n): _p(at.index_ms, 50) for n, at in tier2.items()},
        "index_p95_ms": {str(n): _p(at.index_ms, 95) for n, at in tier2.items()},
        "tier2_p50_ms": {str(n): _p(at.total_ms, 50) for n, at in tier2.items()},
        "tier2_p95_ms_by_size": {str(n): _p(at.total_ms, 95) for n, at in tier2.items()},
        "recall_at_10_percent": {str(n): 100 * at.recall for n, at in tier2.items()},
        "bytes_per_entry": {str(n): at.bytes_per_entry for n, at in tier2.items()},
        "entries_taken_in_per_s": {str(n): at.entries_per_s for n, at in tier2.items()},
    }
    return {
        "tier2_p95_ms": _p(largest.total_ms, 95),
        "embedding_p95_ms": _p(largest.embedding_ms, 95),
        "growth": growth,
        "growth_p50": _p(largest.total_ms, 50) / _p(smallest.total_ms, 50),
        "recall_at_10": min(at.recall for at in tier2.values()),
        **by_size,
    }


def gates(figures: Mapping[str, Figure]) -> list[str]:
    """A line for each gate."""
    lines = []
    for name, bound, is_most in (
        ("tier2_p95_ms", GATE_P95_MS, True),
        ("growth", GATE_GROWTH, True),
        ("recall_at_10", GATE_RECALL, False),
    ):
        value = figures[name]
        assert isinstance(value, float), "a plain figure"
        met = value < bound if is_most else value >= bound
        sign = "<" if is_most else ">="
        lines.append(f"{'met' if met else 'NOT MET'}: {name} {value:.3f} ({sign} {bound:g})")
    return lines


async def _measure(data: Path, sizes: Sequence[int], milvus_size: int) -> dict[str, Figure]:
    engine = MiniLm()
    texts = questions(data, _QUESTIONS, _SEED)
    asked = texts[::_HELD_OUT_EVERY]
    kept = [text for number, text in enumerate(texts) if number % _HELD_OUT_EVERY]
    try:
        tier2 = await vectors.measure(engine, kept, asked, sizes, _SEED)
        figures = figures_of(await exact.measure(sizes), tier2)
        if milvus_size:
            base, queries = vectors.embedded(engine, kept), vectors.embedded(engine, asked)
            milvus = await store.measure(engine.space, base, queries, milvus_size)
            figures["milvus_entries"] = milvus_size
            figures["milvus_search_p50_ms"] = _p(milvus.search_ms, 50)
            figures["milvus_search_p95_ms"] = _p(milvus.search_ms, 95)
            figures["milvus_writes_per_s"] = milvus.writes_per_s
            figures["milvus_empty_mb"] = milvus.empty_mb
            figures["milvus_full_mb"] = milvus.full_mb
    finally:
        engine.close()
    return figures


def main() -> int:
    """Runs the benchmark; 2 when it cannot run here, 1 when a gate is not met."""
    data = Path(os.environ.get("INFERMESH_DATA") or ROOT.parent / "shared" / "data")
    sizes = sorted(int(size) for size in os.environ.get("SIZES", _SIZES).split(","))
    milvus_size = int(os.environ.get("MILVUS_SIZE", _MILVUS_SIZE))
    try:
        figures = asyncio.run(_measure(data, sizes, milvus_size))
    except (MissingModel, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    report(
        "cache-latency",
        figures,
        method=(
            "one lookup at a time, 500 of questions that are not stored; tier 1: a read of an "
            "entry in Redis; tier 2: embedding of one text and its ten nearest of one tenant, "
            "context and scope, by the index of the process; recall against exact search in "
            "float32; memory: growth of the process by size; Milvus: Milvus Lite's server"
        ),
        data=f"{_QUESTIONS:,} questions of banking77, clinc150 and QQP, perturbed",
    )
    lines = gates(figures)
    print("\n".join(lines))
    return 1 if any(line.startswith("NOT") for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
