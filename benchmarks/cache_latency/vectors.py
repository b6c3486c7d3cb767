"""Tier 2: an index that grows, asked at each size."""

import gc
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.cache_latency.minilm import MiniLm
from benchmarks.cache_latency.questions import perturbed
from benchmarks.report import ROOT
from infermesh_cache.adapters.outbound.vectors.hot_index import HotIndex
from infermesh_cache.application.vector_database import Pace, TieredVectorDatabase
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats, VectorRecord
from infermesh_cache.vector_ports import Stamped
from infermesh_common.telemetry.metrics import Metrics

TENANT, CONTEXT, SCOPES = "acme", "c0ffee", ("tenant", "team:payments", "user:ann")
LIMIT = 10
_BATCH = 32
_CREATED_US, _NOW_US, _EXPIRES_US = 1, 2, 2**60
_WARM_UP = 20
PACE = Pace(
    timeout_ms=1000,
    poll_ms=5000,
    overlap_ms=15_000,
    keep_ms=86_400_000,
    sweep_ms=3_600_000,
    queue=10_000,
    batch=256,
    flush_ms=200,
    longest_pause_ms=10_000,
)


@dataclass
class AtSize:
    """What was measured at one size.

    Attributes:
        embedding_ms: of each lookup, the embedding alone.
        index_ms: of each lookup, the index alone.
        total_ms: of each lookup, both.
        recall: share of the ten nearest of exact search that was found.
        bytes_per_entry: growth of the process's memory.
        entries_per_s: how fast they were taken in.
    """

    embedding_ms: list[float] = field(default_factory=list)
    index_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)
    recall: float = 0.0
    bytes_per_entry: float = 0.0
    entries_per_s: float = 0.0


class Nearest:
    """The ten nearest of all vectors seen, by exact search in float32."""

    def __init__(self, queries: Floats) -> None:
        self._queries = queries
        self._cosines = np.full((len(queries), LIMIT), -2.0, np.float32)
        self._numbers = np.zeros((len(queries), LIMIT), np.int64)

    def see(self, vectors: Floats, first: int) -> None:
        """Takes vectors into account; `first` is the number of the first one."""
        cosines = np.hstack([self._cosines, self._queries @ vectors.T])
        found = np.arange(first, first + len(vectors))
        numbers = np.hstack([self._numbers, np.broadcast_to(found, (len(cosines), len(found)))])
        best = np.argpartition(-cosines, LIMIT - 1, axis=1)[:, :LIMIT]
        self._cosines = np.take_along_axis(cosines, best, axis=1)
        self._numbers = np.take_along_axis(numbers, best, axis=1)

    def of(self, query: int) -> set[int]:
        """Numbers of the nearest."""
        return set(self._numbers[query].tolist())


def embedded(engine: MiniLm, texts: Sequence[str]) -> Floats:
    """Vectors of the texts; kept in a file, since they take minutes."""
    digest = hashlib.sha256("\n".join([engine.space.name, *texts]).encode()).hexdigest()[:16]
    file = ROOT / "build" / "bench" / f"questions-{digest}.npy"
    if file.is_file():
        kept: Floats = np.load(file)
        return kept
    vectors = np.zeros((len(texts), engine.space.dimension), np.float32)
    # Of a length together, so that little is padding.
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        vectors[chosen] = engine.embed_now([texts[number] for number in chosen])
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, vectors)
    return vectors


def index_for(space: EmbeddingSpace, most: int) -> HotIndex:
    """An index that may hold so many records."""
    return HotIndex(
        space,
        Metrics(),
        quota=lambda _: most,
        max_records=most,
        max_text_bytes=32_768,
        exact_below=2048,
        max_queued=512,
        build_threads=2,
    )


def record(number: int, text: str, vector: Floats) -> VectorRecord:
    """A record as the cache would make it."""
    name = hashlib.sha256(b"%d" % number).hexdigest()
    answer = hashlib.sha256(b"answer %d" % number).hexdigest()
    return VectorRecord(
        name, CONTEXT, "tenant", answer, text, vector, _CREATED_US, _EXPIRES_US, (), "small"
    )


async def measure(
    engine: MiniLm, texts: Sequence[str], asked: Sequence[str], sizes: Sequence[int], seed: int
) -> dict[int, AtSize]:
    """Lookups at each size.

    Args:
        engine: embeds.
        texts: what is stored is made from.
        asked: questions that are not stored.
        sizes: numbers of records, ascending.
        seed: of the vectors.
    """
    base = embedded(engine, texts)
    nearest = Nearest(embedded(engine, asked))
    hot = index_for(engine.space, sizes[-1])
    database = TieredVectorDatabase(hot, None, Metrics(), clock=lambda: _NOW_US, pace=PACE)
    found: dict[int, AtSize] = {}
    process = psutil.Process()
    # What the model's session takes at its first call is not the index's.
    await engine.embed(asked[:_WARM_UP])
    gc.collect()
    before, stored, spent_s = process.memory_info().rss, 0, 0.0
    for vectors, chosen in chunks(base, sizes, seed):
        nearest.see(vectors, stored)
        items = [
            Stamped(record(stored + i, texts[chosen[i]], vector), _CREATED_US)
            for i, vector in enumerate(vectors)
        ]
        start = time.perf_counter()
        assert await hot.load(TENANT, items, _NOW_US), "there is room"
        spent_s += time.perf_counter() - start
        stored += len(items)
        del items, vectors
        print(f"  {stored:,} records, {stored / spent_s:,.0f} a second", flush=True)
        if stored in sizes:
            await hot.settled()
            gc.collect()
            grown = process.memory_info().rss - before
            at = found[stored] = await _ask(engine, database, nearest, asked)
            at.bytes_per_entry = grown / stored
            at.entries_per_s = stored / spent_s
            p95_ms = [float(np.percentile(ms, 95)) for ms in (at.total_ms, at.embedding_ms)]
            print(
                f"  at {stored:,}: tier 2 p95 {p95_ms[0]:.1f} ms, embedding {p95_ms[1]:.1f} ms, "
                f"recall {at.recall:.4f}, {at.bytes_per_entry:,.0f} bytes each",
                flush=True,
            )
    await hot.close()
    return found


def chunks(
    base: Floats, sizes: Sequence[int], seed: int
) -> Iterator[tuple[Floats, npt.NDArray[np.int64]]]:
    """As `perturbed`, cut at the sizes."""
    stored = 0
    for number, size in enumerate(sizes):
        yield from perturbed(base, size - stored, seed + number)
        stored = size


async def _ask(
    engine: MiniLm,
    database: TieredVectorDatabase,
    nearest: Nearest,
    asked: Sequence[str],
) -> AtSize:
    at, shares = AtSize(), []
    for number, text in enumerate([*asked[:_WARM_UP], *asked]):
        start = time.perf_counter()
        vector = (await engine.embed([text]))[0]
        middle = time.perf_counter()
        near = await database.nearest(TENANT, CONTEXT, SCOPES, vector, LIMIT)
        end = time.perf_counter()
        if number < _WARM_UP:
            continue
        at.embedding_ms.append((middle - start) * 1000)
        at.index_ms.append((end - middle) * 1000)
        at.total_ms.append((end - start) * 1000)
        exact = {hashlib.sha256(b"%d" % n).hexdigest() for n in nearest.of(number - _WARM_UP)}
        shares.append(len(exact & {item.record.entry_id for item in near}) / LIMIT)
    at.recall = float(np.mean(shares))
    return at
