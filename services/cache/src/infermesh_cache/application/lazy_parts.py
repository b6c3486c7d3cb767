"""What the semantic tier is made of, built when a tenant first needs it.

Models and indexes take memory and a second or two to load: a mesh whose policies leave the tier off
pays for neither.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass

import structlog

from infermesh_cache.learning_ports import AnswerJudge, QuestionReader
from infermesh_cache.semantic_ports import EmbeddingEngine, VectorDatabase
from infermesh_common.background import BackgroundTasks, end_tasks
from infermesh_common.errors import InfermeshError, Unavailable
from infermesh_common.telemetry.logs import without_text

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is heavy.

    Attributes:
        reader: of questions.
        engine: embeds.
        vectors: stored questions.
        judge: compares answers where a policy asks for it; None: the mesh has none.
        run: what has to go on in the background while they are used; None: nothing.
        close: ends them; None: nothing has to be.
    """

    reader: QuestionReader
    engine: EmbeddingEngine
    vectors: VectorDatabase
    judge: AnswerJudge | None = None
    run: Callable[[], Coroutine[None, None, None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None


class LazyParts:
    """Builds the parts once, in the background; after a failure again, a while later.

    Args:
        build: makes them; raises `InfermeshError` when that cannot be.
        background: where it runs.
        retry_ms: time between attempts, in milliseconds.
        monotonic: clock, in seconds.
    """

    def __init__(
        self,
        build: Callable[[], Awaitable[Parts]],
        background: BackgroundTasks,
        *,
        retry_ms: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build = build
        self._background = background
        self._retry_s = retry_ms / 1000
        self._monotonic = monotonic
        self._parts: Parts | None = None
        self._loading: asyncio.Task[None] | None = None
        self._next_attempt_s = float("-inf")
        self._fault: InfermeshError | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def fault(self) -> InfermeshError | None:
        """Why the last attempt failed; None when it did not."""
        return self._fault

    @property
    def built(self) -> Parts | None:
        """The parts, if they have been built."""
        return self._parts

    def get(self) -> Parts | None:
        """The parts; None while they are not there, and then they are on their way."""
        if self._parts is None and self._loading is None:
            if self._monotonic() >= self._next_attempt_s:
                self._loading = self._background.start(self._load(), "semantic-parts")
        return self._parts

    async def wait(self) -> Parts:
        """The parts, once they are there.

        Raises:
            Unavailable: SEMANTIC_TIER_UNAVAILABLE.
        """
        if self.get() is None and self._loading is not None:
            await asyncio.wait([self._loading])
        if self._parts is None:
            why = self._fault.message if self._fault else "it is left alone after a failure."
            raise Unavailable("SEMANTIC_TIER_UNAVAILABLE", f"The semantic tier is not there: {why}")
        return self._parts

    async def _load(self) -> None:
        self._next_attempt_s = self._monotonic() + self._retry_s
        try:
            parts = await self._build()
            if parts.run is not None:
                self._running = asyncio.create_task(parts.run(), name="semantic-parts-run")
                self._running.add_done_callback(self._ended)
            self._parts, self._fault = parts, None
            _log.info("semantic_tier_loaded")
        except InfermeshError as error:
            self._fault = error
            _log.error("semantic_tier_not_loaded", reason=error.reason)
        finally:
            self._loading = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("semantic_parts_failed", error=without_text(error))

    async def close(self) -> None:
        """Ends what was built."""
        if self._running is not None:
            await end_tasks([self._running])
        if self._parts is not None and self._parts.close is not None:
            await self._parts.close()
