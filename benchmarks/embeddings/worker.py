"""Measures one model in a process of its own, so that its memory is its own.

    python -m benchmarks.embeddings.worker minilm-int8 <data folder> [port of a server] [its pid]

Prints one JSON object.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from benchmarks.embeddings.engines import local_engine, remote_engine
from benchmarks.embeddings.quality import SEED, Labelled, quality, read_sets
from infermesh_cache.application.embedding_engine import BatchingEmbeddingEngine

SINGLE = 100
ROUNDS = 15
CONCURRENT = 16


async def _timed(engine: BatchingEmbeddingEngine, text: str) -> float:
    began = time.perf_counter()
    await engine.embed([text])
    return (time.perf_counter() - began) * 1000


async def speed(engine: BatchingEmbeddingEngine, texts: Sequence[str]) -> dict[str, float]:
    """Milliseconds of a request, alone and among others, and texts a second."""
    alone = [await _timed(engine, text) for text in texts[:SINGLE]]
    among: list[float] = []
    began = time.perf_counter()
    for number in range(ROUNDS):
        first = SINGLE + number * CONCURRENT
        among += await asyncio.gather(
            *(_timed(engine, text) for text in texts[first : first + CONCURRENT])
        )
    seconds = time.perf_counter() - began
    return {
        "p50_ms_at_1": float(np.percentile(alone, 50)),
        "p95_ms_at_1": float(np.percentile(alone, 95)),
        "p50_ms_at_16": float(np.percentile(among, 50)),
        "p95_ms_at_16": float(np.percentile(among, 95)),
        "texts_per_s": len(among) / seconds,
    }


def _rss_mb(pid: int | None = None) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1e6


async def measure(name: str, sets: dict[str, Labelled], server: list[int]) -> dict[str, float]:
    """All figures of a model."""
    before = _rss_mb()
    engine = await remote_engine(server[0]) if name == "remote" else local_engine(name)
    try:
        await engine.embed(["a first text loads the model"])
        texts = sorted({text for data in sets.values() for text in data.stored})
        random.Random(SEED).shuffle(texts)
        figures = await speed(engine, texts)
        for set_name, data in sets.items():
            for figure, value in (await quality(engine, data)).items():
                figures[f"{set_name}_{figure}"] = value
        figures["rss_mb"] = _rss_mb() - before + (_rss_mb(server[1]) if server else 0)
    finally:
        await engine.close()
    return figures


def main(arguments: Sequence[str]) -> int:
    """The command."""
    name, folder, *server = arguments
    sets = read_sets(Path(folder))
    print(json.dumps(asyncio.run(measure(name, sets, [int(number) for number in server]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
