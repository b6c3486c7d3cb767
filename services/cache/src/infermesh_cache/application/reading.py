"""Questions out of requests: what must be equal, what is compared by meaning, and its embedding."""

import asyncio
import hashlib
from concurrent.futures import Executor

import orjson

from infermesh_cache.domain.context.engine import ContextualEmbeddingEngine, ContextualKey
from infermesh_cache.learning_ports import Asked, Place, Question
from infermesh_cache.semantic_ports import EmbeddingEngine

_LARGE_BODY_BYTES = 4_096
"""Larger requests are taken apart off the event loop."""


class EmbeddingQuestionReader:
    """Implements `QuestionReader`: `ContextualEmbeddingEngine` and `EmbeddingEngine` in a row.

    Args:
        engine: embeds.
        executor: where large requests are taken apart.
    """

    def __init__(self, engine: EmbeddingEngine, executor: Executor) -> None:
        self._engine = engine
        self._executor = executor
        self._contexts = {
            bound: ContextualEmbeddingEngine(bind_every_history=bound) for bound in (False, True)
        }

    async def read(self, asked: Asked, place: Place) -> Question | None:
        """See `QuestionReader.read`."""
        if len(asked.body) > _LARGE_BODY_BYTES:
            loop = asyncio.get_running_loop()
            key = await loop.run_in_executor(self._executor, self._key, asked, place)
        else:
            key = self._key(asked, place)
        if key is None:
            return None
        space = self._engine.space
        # Vectors of two spaces are never compared, nor is evidence of two categories mixed.
        parts = orjson.dumps([key.context, place.category, space.name, space.dimension])
        vectors = await self._engine.embed([key.text])
        flags = tuple(sorted(key.flags))
        return Question(hashlib.sha256(parts).hexdigest(), key.text, vectors[0], space, flags)

    def _key(self, asked: Asked, place: Place) -> ContextualKey | None:
        try:
            body = orjson.loads(asked.body)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(body, dict):
            return None
        return self._contexts[place.bind_history].key(
            place.tenant,
            body,
            protocol=asked.protocol,
            models=asked.models,
            epoch=place.epoch,
        )
