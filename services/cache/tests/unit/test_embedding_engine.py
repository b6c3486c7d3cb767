"""The embedding engine in front of a model that the test plays."""

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from infermesh_cache.application.embedding_engine import Batching, BatchingEmbeddingEngine
from infermesh_cache.application.vector_memory import ENTRY_OVERHEAD_BYTES, VectorMemory
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_common import context
from infermesh_common.errors import DeadlineExceeded, Internal, Unavailable
from infermesh_common.telemetry.metrics import Metrics

DIMENSION = 4


def vector_of(text: str) -> Floats:
    """Some vector, of length other than one, that only this text has."""
    return np.array([len(text) + 1, *(ord(c) for c in (text + "   ")[:3])], np.float32)


def unit_of(text: str) -> Floats:
    vector = vector_of(text)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


class PlayedModel:
    """Answers when the gate is open; keeps what it was asked."""

    def __init__(self) -> None:
        self.space = EmbeddingSpace("played@1", DIMENSION)
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.special: dict[str, list[float]] = {}
        self.closed = False
        self.had_context: list[bool] = []

    async def vectors(self, texts: Sequence[str]) -> Floats:
        self.batches.append(list(texts))
        self.had_context.append(context.current_or_none() is not None)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return np.array([self.special.get(text, vector_of(text)) for text in texts], np.float32)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def model() -> PlayedModel:
    return PlayedModel()


MakeEngine = Callable[..., BatchingEmbeddingEngine]


@pytest.fixture
def make(model: PlayedModel, metrics: Metrics) -> MakeEngine:
    def engine(
        *,
        max_texts: int = 8,
        max_wait_ms: float = 1,
        max_batches: int = 1,
        max_waiting: int = 100,
        max_chars: int = 1000,
        timeout_ms: int = 60_000,
        memory_bytes: int = 100_000,
    ) -> BatchingEmbeddingEngine:
        batching = Batching(
            max_texts,
            max_wait_ms,
            max_batches,
            max_waiting,
            max_chars,
            timeout_ms,
            memory_bytes,
        )
        return BatchingEmbeddingEngine(model, batching, metrics)

    return engine


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until the condition holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


async def test_vectors_are_of_unit_length_and_in_the_order_of_their_texts(make: MakeEngine) -> None:
    vectors = await make().embed(["b", "a", "", "b"])
    assert vectors.dtype == np.float32
    for vector, text in zip(vectors, ["b", "a", "", "b"], strict=True):
        np.testing.assert_allclose(vector, unit_of(text), rtol=1e-6)


async def test_no_text_is_no_vector_and_asks_no_model(make: MakeEngine, model: PlayedModel) -> None:
    assert (await make().embed([])).shape == (0, DIMENSION)
    assert model.batches == []


async def test_requests_at_one_time_share_a_batch(make: MakeEngine, model: PlayedModel) -> None:
    engine = make(max_texts=3, max_wait_ms=60_000)
    await asyncio.gather(*(engine.embed([text]) for text in "abc"))
    assert model.batches == [["a", "b", "c"]]


async def test_a_lone_text_does_not_wait_for_ever(make: MakeEngine, model: PlayedModel) -> None:
    await make(max_texts=64, max_wait_ms=0).embed(["a"])
    assert model.batches == [["a"]]


async def test_what_arrives_while_the_model_works_is_the_next_batch(
    make: MakeEngine, model: PlayedModel
) -> None:
    engine = make(max_texts=4, max_wait_ms=0)
    model.gate.clear()
    first = asyncio.create_task(engine.embed(["first"]))
    await until(lambda: len(model.batches) == 1)
    others = [asyncio.create_task(engine.embed([text])) for text in "abcdef"]
    await until(lambda: engine.waiting == 7)
    assert len(model.batches) == 1
    model.gate.set()
    await asyncio.gather(first, *others)
    assert [len(batch) for batch in model.batches] == [1, 4, 2]


async def test_the_same_text_is_embedded_once(
    make: MakeEngine, model: PlayedModel, metrics: Metrics
) -> None:
    engine = make(max_wait_ms=0)
    await asyncio.gather(engine.embed(["a", "a"]), engine.embed(["a"]))
    await engine.embed(["a"])
    assert model.batches == [["a"]]
    assert metrics.sample("infermesh_embedding_texts_total", {"result": "remembered"}) == 1


async def test_a_remembered_vector_cannot_be_spoilt_by_who_got_it(make: MakeEngine) -> None:
    engine = make()
    (await engine.embed(["a"]))[:] = 0
    np.testing.assert_allclose((await engine.embed(["a"]))[0], unit_of("a"), rtol=1e-6)


async def test_beyond_the_bound_texts_are_refused_at_once(
    make: MakeEngine, model: PlayedModel
) -> None:
    engine = make(max_texts=1, max_waiting=2, max_wait_ms=0)
    model.gate.clear()
    kept = [asyncio.create_task(engine.embed([text])) for text in "abc"]
    await until(lambda: len(model.batches) == 1 and engine.waiting == 3)
    with pytest.raises(Unavailable) as refusal:
        await engine.embed(["d"])
    assert refusal.value.reason == "EMBEDDING_OVERLOADED"
    model.gate.set()
    await asyncio.gather(*kept)


async def test_nobody_waits_longer_than_the_timeout(make: MakeEngine, model: PlayedModel) -> None:
    model.gate.clear()
    engine = make(timeout_ms=1)
    with pytest.raises(Unavailable) as late:
        await engine.embed(["a"])
    assert late.value.reason == "EMBEDDING_TIMEOUT"
    model.gate.set()
    assert (await engine.embed(["a"])).shape == (1, DIMENSION)


async def test_a_text_that_nobody_waits_for_any_more_is_not_embedded(
    make: MakeEngine, model: PlayedModel
) -> None:
    engine = make(max_texts=1, max_wait_ms=0)
    model.gate.clear()
    first = asyncio.create_task(engine.embed(["first"]))
    await until(lambda: len(model.batches) == 1)
    given_up = asyncio.create_task(engine.embed(["given up"]))
    await until(lambda: engine.waiting == 2)
    given_up.cancel()
    await asyncio.wait([given_up])
    model.gate.set()
    await first
    await engine.embed(["last"])
    assert model.batches == [["first"], ["last"]]


async def test_one_who_gives_up_does_not_take_the_vector_from_another(
    make: MakeEngine, model: PlayedModel
) -> None:
    engine = make(max_wait_ms=0)
    model.gate.clear()
    stays, leaves = (asyncio.create_task(engine.embed(["a"])) for _ in range(2))
    await until(lambda: len(model.batches) == 1)
    leaves.cancel()
    await asyncio.wait([leaves])
    model.gate.set()
    assert (await stays).shape == (1, DIMENSION)


async def test_a_batch_is_not_under_the_deadline_of_one_of_its_requests(
    make: MakeEngine, model: PlayedModel
) -> None:
    engine = make(max_wait_ms=0)

    async def request() -> None:
        context.bind(context.RequestContext("m", "r", {}, time.monotonic() + 60, 0))
        await engine.embed(["a"])

    await asyncio.create_task(request())
    assert model.had_context == [False]


@pytest.mark.parametrize(
    "vector",
    [[0.0] * 4, [float("nan"), 1, 1, 1], [float("inf"), 1, 1, 1], [1e-20] * 4],
)
async def test_a_vector_without_direction_is_refused_and_its_neighbours_are_not(
    make: MakeEngine, model: PlayedModel, vector: list[float]
) -> None:
    engine = make(max_texts=2, max_wait_ms=60_000)
    model.special["bad"] = vector
    good, bad = await asyncio.gather(
        engine.embed(["good"]), engine.embed(["bad"]), return_exceptions=True
    )
    assert isinstance(good, np.ndarray)
    assert isinstance(bad, Unavailable) and bad.reason == "EMBEDDING_VECTOR_INVALID"


@pytest.mark.parametrize(
    ("failure", "kind", "reason"),
    [
        (Unavailable("GONE", "It is gone."), Unavailable, "GONE"),
        (DeadlineExceeded("SLOW", "It is slow."), Unavailable, "EMBEDDING_TIMEOUT"),
        (Internal("BAD", "It is bad."), Internal, "BAD"),
    ],
)
async def test_a_failure_reaches_every_request_of_the_batch_and_no_later_one(
    make: MakeEngine, model: PlayedModel, failure: Exception, kind: type, reason: str
) -> None:
    engine = make(max_texts=2, max_wait_ms=60_000)
    model.failure = failure
    results = await asyncio.gather(engine.embed(["a"]), engine.embed(["b"]), return_exceptions=True)
    for result in results:
        assert isinstance(result, kind) and getattr(result, "reason", "") == reason
    assert results[0] is not results[1]
    model.failure = None
    assert (await engine.embed(["a", "b"])).shape == (2, DIMENSION)


async def test_a_defect_of_the_model_leaves_no_request_waiting(
    make: MakeEngine, model: PlayedModel
) -> None:
    model.failure = ZeroDivisionError()
    with pytest.raises(Internal) as defect:
        await make().embed(["a"])
    assert defect.value.reason == "EMBEDDING_DEFECT"


async def test_long_texts_are_cut_before_anything_reads_them(
    make: MakeEngine, model: PlayedModel
) -> None:
    await make(max_chars=10).embed(["x" * 1_000_000])
    assert model.batches == [["x" * 10]]


async def test_a_lone_surrogate_is_a_text_like_others(make: MakeEngine, model: PlayedModel) -> None:
    await make().embed(["a\ud800b"])
    assert model.batches == [["a?b"]]


async def test_closing_refuses_what_waits_and_closes_the_model(
    make: MakeEngine, model: PlayedModel
) -> None:
    engine = make(max_texts=8, max_wait_ms=60_000)
    waits = asyncio.create_task(engine.embed(["a"]))
    await until(lambda: engine.waiting == 1)
    await engine.close()
    with pytest.raises(Unavailable, match="closed"):
        await waits
    with pytest.raises(Unavailable):
        await engine.embed(["b"])
    assert model.closed


def test_memory_forgets_the_text_used_longest_ago_and_keeps_its_bound() -> None:
    vector = np.ones(DIMENSION, np.float32)
    each = vector.nbytes + ENTRY_OVERHEAD_BYTES
    memory = VectorMemory(2 * each + 1)
    memory.put("a", vector)
    memory.put("b", vector)
    assert memory.get("a") is not None
    memory.put("c", vector)
    assert memory.get("b") is None
    assert memory.get("a") is not None and memory.get("c") is not None
    assert memory.size_bytes == 2 * each and len(memory) == 2


def test_memory_of_no_bytes_keeps_nothing() -> None:
    memory = VectorMemory(0)
    memory.put("a", np.ones(DIMENSION, np.float32))
    assert memory.get("a") is None and memory.size_bytes == 0
