"""EmbeddingEngine of the roadmap: texts to unit vectors, many requests at a time.

A text waits a little for others, is embedded in one batch with them, and is remembered. Texts that
wait are counted: beyond a bound new ones are refused, for a stage that waits longer than its
time-out is of use to nobody.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infermesh_cache.application.vector_memory import VectorMemory
from infermesh_cache.embedding_ports import TextVectors
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_common.context import time_budget_s
from infermesh_common.errors import DeadlineExceeded, InfermeshError, Internal, Unavailable
from infermesh_common.telemetry.metrics import Metrics

_SHORTEST = 1e-6
"""A vector of less length has no direction to speak of."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How texts are brought together.

    Attributes:
        max_texts: of a batch.
        max_wait_ms: longest wait for others, in milliseconds; 0 takes those that are there.
        max_batches: under way at once.
        max_waiting: texts that may wait; more are refused.
        max_chars: of a text; what follows is cut off before anything reads it.
        timeout_ms: longest time for an `embed`, waiting included, in milliseconds.
        memory_bytes: for vectors of the texts seen last.
    """

    max_texts: int
    max_wait_ms: float
    max_batches: int
    max_waiting: int
    max_chars: int
    timeout_ms: int
    memory_bytes: int


@dataclass(slots=True, eq=False)
class _Waiting:
    """A text that waits, for one request or for several that ask for the same."""

    text: str
    vector: asyncio.Future[Floats]
    requests: int = 0


class BatchingEmbeddingEngine:
    """`EmbeddingEngine` in front of a model.

    Args:
        model: makes the vectors.
        batching: how texts are brought together.
        metrics: where texts and refusals are counted.
    """

    def __init__(self, model: TextVectors, batching: Batching, metrics: Metrics) -> None:
        self._model = model
        self._batching = batching
        self._memory = VectorMemory(batching.memory_bytes)
        self._waiting: deque[_Waiting] = deque()
        self._by_text: dict[str, _Waiting] = {}
        self._batches: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._texts = metrics.counter("infermesh_embedding_texts_total")

    @property
    def space(self) -> EmbeddingSpace:
        """The model's."""
        return self._model.space

    @property
    def waiting(self) -> int:
        """Texts that wait for a batch or are in one."""
        return len(self._by_text)

    async def embed(self, texts: Sequence[str]) -> Floats:
        """See `EmbeddingEngine.embed`.

        Raises:
            Unavailable: EMBEDDING_OVERLOADED, EMBEDDING_TIMEOUT, EMBEDDING_VECTOR_INVALID, or
                what the model says.
        """
        vectors = np.empty((len(texts), self.space.dimension), np.float32)
        asked: dict[int, _Waiting] = {}
        try:
            for row, text in enumerate(texts):
                vector = self._ask(self._cut(text))
                if isinstance(vector, _Waiting):
                    asked[row] = vector
                else:
                    vectors[row] = vector
            await self._arrival(asked)
            for row, waiting in asked.items():
                vectors[row] = waiting.vector.result()
        finally:
            for waiting in asked.values():
                self._leave(waiting)
        return vectors

    async def close(self) -> None:
        """Refuses what waits, ends batches under way and the model."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._waiting:
            _fail(waiting, Unavailable("EMBEDDING_CLOSED", "The embedding engine is closed."))
        self._waiting.clear()
        if self._batches:
            await asyncio.wait(self._batches)
        await self._model.close()

    def _cut(self, text: str) -> str:
        """The beginning of a text, as UTF-8 can carry it: JSON lets lone surrogates in."""
        head = text[: self._batching.max_chars]
        return head if head.isascii() else head.encode("utf-8", "replace").decode("utf-8")

    def _ask(self, text: str) -> Floats | _Waiting:
        """The remembered vector of a text, or its place in the queue."""
        vector = self._memory.get(text)
        if vector is not None:
            self._texts.labels("remembered").inc()
            return vector
        waiting = self._by_text.get(text)
        if waiting is None:
            if self._closed or len(self._waiting) >= self._batching.max_waiting:
                self._texts.labels("refused").inc()
                raise Unavailable(
                    "EMBEDDING_OVERLOADED", "Too many texts wait for the embedding model."
                )
            waiting = _Waiting(text, asyncio.get_running_loop().create_future())
            self._by_text[text] = waiting
            self._waiting.append(waiting)
            self._arrange()
        waiting.requests += 1
        return waiting

    async def _arrival(self, asked: dict[int, _Waiting]) -> None:
        """Returns when all have come; raises what became of one that has not."""
        futures = {waiting.vector for waiting in asked.values()}
        if not futures:
            return
        try:
            budget_s = time_budget_s(self._batching.timeout_ms)
        except DeadlineExceeded as error:
            raise _too_late() from error
        done, late = await asyncio.wait(
            futures, timeout=budget_s, return_when=asyncio.FIRST_EXCEPTION
        )
        for future in done:
            future.result()
        if late:
            self._texts.labels("late").inc(len(late))
            raise _too_late()

    def _leave(self, waiting: _Waiting) -> None:
        """One request less wants it; nobody's text is not embedded."""
        waiting.requests -= 1
        if waiting.requests == 0 and not waiting.vector.done():
            waiting.vector.cancel()
            self._forget(waiting)

    def _forget(self, waiting: _Waiting) -> None:
        if self._by_text.get(waiting.text) is waiting:
            del self._by_text[waiting.text]

    def _arrange(self) -> None:
        """Starts a batch when one is full, or a little later."""
        if len(self._waiting) >= self._batching.max_texts:
            self._start()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._batching.max_wait_ms / 1000, self._start)

    def _start(self) -> None:
        """Starts as many batches as may run; what is left starts when one ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and len(self._batches) < self._batching.max_batches:
            batch: list[_Waiting] = []
            while self._waiting and len(batch) < self._batching.max_texts:
                waiting = self._waiting.popleft()
                if not waiting.vector.done():
                    batch.append(waiting)
            if batch:
                # Not in the context of the request that happened to be the last: its deadline
                # is not that of the others.
                task = asyncio.get_running_loop().create_task(
                    self._run(batch), context=contextvars.Context()
                )
                self._batches.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        if not self._closed:
            self._start()

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        try:
            vectors = await self._model.vectors([waiting.text for waiting in batch])
            for waiting, vector in zip(batch, vectors, strict=True):
                self._deliver(waiting, vector)
        except DeadlineExceeded as error:
            self._give_up(batch, Unavailable("EMBEDDING_TIMEOUT", error.message))
        except InfermeshError as error:
            self._give_up(batch, error)
        except Exception as error:
            self._give_up(batch, Internal("EMBEDDING_DEFECT", "The embedding model has a defect."))
            raise error
        finally:
            for waiting in batch:
                self._forget(waiting)

    def _deliver(self, waiting: _Waiting, vector: Floats) -> None:
        with np.errstate(all="ignore"):
            length = float(np.linalg.norm(vector.astype(np.float64)))
        if not np.isfinite(length) or length < _SHORTEST:
            self._texts.labels("invalid").inc()
            _fail(
                waiting,
                Unavailable(
                    "EMBEDDING_VECTOR_INVALID",
                    "The embedding model made a vector without direction, or not of numbers.",
                ),
            )
            return
        unit = (vector / np.float32(length)).astype(np.float32)
        self._memory.put(waiting.text, unit)
        self._texts.labels("embedded").inc()
        if not waiting.vector.done():
            waiting.vector.set_result(unit)

    def _give_up(self, batch: Sequence[_Waiting], error: InfermeshError) -> None:
        self._texts.labels("failed").inc(len(batch))
        for waiting in batch:
            _fail(waiting, error)


def _fail(waiting: _Waiting, error: InfermeshError) -> None:
    if not waiting.vector.done():
        # One object for each: they are raised in several requests.
        waiting.vector.set_exception(
            type(error)(error.reason, error.message, metadata=error.metadata)
        )
        # Read here, so that one nobody waits for any more is not reported as lost.
        waiting.vector.exception()


def _too_late() -> Unavailable:
    return Unavailable("EMBEDDING_TIMEOUT", "The embedding did not come in time.")
