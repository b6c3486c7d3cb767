"""A model of this process off the event loop."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from infermesh_cache.embedding_ports import TextEncoder
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_common.errors import Unavailable


class ThreadedEncoder:
    """Runs an encoder in threads of its own, which start with the first text.

    A model that could not be loaded is not tried again before some time has passed: reading its
    files takes long, and every request would.

    Args:
        encoder: the model.
        threads: batches at once.
        reload_after_ms: time after a failure to load until the next attempt, in milliseconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        threads: int,
        reload_after_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encoder = encoder
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="embedding")
        self._slots = asyncio.Semaphore(threads)
        self._reload_after_s = reload_after_ms / 1000
        self._clock = clock
        self._loaded = False
        self._failed: tuple[float, Unavailable] | None = None

    @property
    def space(self) -> EmbeddingSpace:
        """The encoder's."""
        return self._encoder.space

    async def vectors(self, texts: Sequence[str]) -> Floats:
        """See `TextVectors.vectors`."""
        loop = asyncio.get_running_loop()
        async with self._slots:
            if not self._loaded:
                await self._load(loop)
            return await loop.run_in_executor(self._executor, self._encoder.encode, texts)

    async def close(self) -> None:
        """Waits for the batches under way and ends the threads."""
        await asyncio.to_thread(self._executor.shutdown)

    async def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._failed is not None and self._clock() < self._failed[0]:
            error = self._failed[1]
            # A new one: raising the same would chain the frames of every request to it.
            raise Unavailable(error.reason, error.message, metadata=error.metadata)
        try:
            await loop.run_in_executor(self._executor, self._encoder.load)
        except Unavailable as error:
            kept = Unavailable(error.reason, error.message, metadata=error.metadata)
            self._failed = (self._clock() + self._reload_after_s, kept)
            raise
        self._loaded, self._failed = True, None
