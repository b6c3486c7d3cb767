"""Records, indexes, and Milvus Lite's server."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from infermesh_cache.adapters.outbound.vectors.hot_index import HotIndex
from infermesh_cache.adapters.outbound.vectors.milvus import MilvusVectors
from infermesh_cache.application.vector_database import Pace, TieredVectorDatabase
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats, VectorRecord
from infermesh_cache.vector_ports import Stamped, VectorStore
from infermesh_common.resilience import Dependency
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.milvus import MilvusLiteServer

DIMENSION = 16
FAR_US = 10**18


def name_of(number: int | str) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@dataclass
class Clock:
    """Microseconds since the epoch, as the test says."""

    now_us: int = 1_000_000_000_000_000

    def __call__(self) -> int:
        return self.now_us


@dataclass
class Maker:
    """Makes records.

    Attributes:
        random: where vectors come from.
        dimension: of them.
    """

    dimension: int = DIMENSION
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def units(self, count: int) -> Floats:
        made = self.random.normal(size=(count, self.dimension)).astype(np.float32)
        unit: Floats = made / np.linalg.norm(made, axis=1, keepdims=True)
        return unit

    def record(
        self,
        number: int | str,
        vector: Floats | None = None,
        *,
        context: str = "c0",
        scope: str = "tenant",
        answer: str = "",
        model: str = "small",
        category: str = "",
        tags: tuple[str, ...] = (),
        create_us: int = 1,
        expire_us: int = FAR_US,
        text: str = "",
    ) -> VectorRecord:
        return VectorRecord(
            entry_id=name_of(number),
            context=context,
            scope=scope,
            answer=answer or name_of(f"answer {number}"),
            text=text or f"question {number}",
            vector=self.units(1)[0] if vector is None else vector,
            create_time_us=create_us,
            expire_time_us=expire_us,
            tags=tags,
            model=model,
            category=category,
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
def ids() -> Callable[..., list[str]]:
    """Names of records by their numbers."""
    return lambda *numbers: [name_of(number) for number in numbers]


@pytest.fixture
def space(request: pytest.FixtureRequest) -> EmbeddingSpace:
    """A space of the test's own: the server is shared."""
    return EmbeddingSpace(f"test/{request.node.name}@1b2c3d", DIMENSION)


@pytest.fixture
async def new_hot(
    space: EmbeddingSpace, metrics: Metrics
) -> AsyncIterator[Callable[..., HotIndex]]:
    made: list[HotIndex] = []

    def new(
        *,
        quota: int | Callable[[str], int] = 10**6,
        category_quota: Callable[[str, str], int | None] = lambda tenant, category: None,
        max_records: int = 10**6,
        exact_below: int = 64,
        max_queued: int = 100_000,
    ) -> HotIndex:
        hot = HotIndex(
            space,
            metrics,
            quota=quota if callable(quota) else lambda _: quota,
            category_quota=category_quota,
            max_records=max_records,
            max_text_bytes=1000,
            exact_below=exact_below,
            max_queued=max_queued,
            build_threads=1,
        )
        made.append(hot)
        return hot

    yield new
    for hot in made:
        await hot.close()


@pytest.fixture
def hot(new_hot: Callable[..., HotIndex]) -> HotIndex:
    return new_hot()


@pytest.fixture
def pace() -> Pace:
    """Brisk; patient with lookups, for the machine may be busy."""
    return Pace(
        timeout_ms=30_000,
        poll_ms=50,
        overlap_ms=2_000,
        keep_ms=86_400_000,
        sweep_ms=3_600_000,
        queue=10_000,
        batch=64,
        flush_ms=1,
        longest_pause_ms=200,
    )


@pytest.fixture
def new_database(metrics: Metrics, clock: Clock, pace: Pace) -> Callable[..., TieredVectorDatabase]:
    def new(
        hot: HotIndex, store: VectorStore | None = None, its_pace: Pace = pace
    ) -> TieredVectorDatabase:
        return TieredVectorDatabase(hot, store, metrics, clock=clock, pace=its_pace)

    return new


@pytest.fixture(scope="session")
def shared_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusLiteServer]:
    """Not to be paused or stopped."""
    with MilvusLiteServer(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture
def own_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusLiteServer]:
    """The test's own, which it may pause, kill and wipe."""
    with MilvusLiteServer(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture
async def new_store(
    space: EmbeddingSpace, metrics: Metrics
) -> AsyncIterator[Callable[..., MilvusVectors]]:
    made: list[MilvusVectors] = []

    async def new(
        server: MilvusLiteServer, *, timeout_ms: int = 30_000, page_rows: int = 1000
    ) -> MilvusVectors:
        breaker = BreakerSettings(failure_threshold=3, open_ms=200, max_concurrent=64)
        store = MilvusVectors(
            space,
            await Dependency.create("milvus", breaker, metrics),
            uri=server.uri,
            token="",
            timeout_ms=timeout_ms,
            write_timeout_ms=timeout_ms,
            page_rows=page_rows,
            keep_ms=86_400_000,
        )
        made.append(store)
        return store

    yield new
    for store in made:
        await store.close()


@pytest.fixture
def stamped() -> Callable[[VectorRecord, int], Stamped]:
    return Stamped
