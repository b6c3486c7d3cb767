"""An embedding and an index for tests: small, without files, and exact."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson

from infermesh_cache.application.lazy_parts import Parts
from infermesh_cache.learning_ports import AnswerJudge, Asked, Place, Question
from infermesh_cache.semantic_ports import (
    EmbeddingSpace,
    Floats,
    Near,
    Removal,
    VectorRecord,
)
from infermesh_common.errors import InfermeshError

_DIMENSION = 64


class WordEngine:
    """Implements `EmbeddingEngine`: texts are near that share words."""

    def __init__(self) -> None:
        self.space = EmbeddingSpace("words@0", _DIMENSION)
        self.embedded = 0

    async def embed(self, texts: Sequence[str]) -> Floats:
        """See `EmbeddingEngine.embed`."""
        self.embedded += len(texts)
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Floats:
        total = np.full(_DIMENSION, 1e-3)
        for word in re.findall(r"\w+", text.lower()):
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
            total += np.random.default_rng(seed).normal(size=_DIMENSION)
        vector: Floats = (total / np.linalg.norm(total)).astype(np.float32)
        return vector


class LastTurnReader:
    """Implements `QuestionReader`: the last message of the user; all else is context."""

    def __init__(self, engine: WordEngine) -> None:
        self._engine = engine
        self.fault: InfermeshError | None = None

    async def read(self, asked: Asked, place: Place) -> Question | None:
        """See `QuestionReader.read`."""
        if self.fault is not None:
            raise self.fault
        body = orjson.loads(asked.body)
        text = body["messages"][-1]["content"]
        if not isinstance(text, str):
            return None
        exact = [
            asked.protocol,
            sorted(asked.models),
            body["messages"][:-1],
            place.epoch,
            place.category,
        ]
        context = hashlib.sha256(orjson.dumps(exact)).hexdigest()
        (vector,) = await self._engine.embed([text])
        return Question(context, text, vector, self._engine.space)


class ListedVectors:
    """Implements `VectorDatabase` with a list."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], VectorRecord] = {}
        self.fault: InfermeshError | None = None

    async def nearest(
        self, tenant: str, context: str, scopes: Sequence[str], vector: Floats, limit: int
    ) -> Sequence[Near]:
        """See `VectorDatabase.nearest`."""
        if self.fault is not None:
            raise self.fault
        found = [
            Near(record, float(record.vector @ vector))
            for (owner, _), record in self.records.items()
            if owner == tenant and record.context == context and record.scope in scopes
        ]
        return sorted(found, key=lambda near: -near.similarity)[:limit]

    async def add(self, tenant: str, record: VectorRecord) -> None:
        """See `VectorDatabase.add`."""
        if self.fault is not None:
            raise self.fault
        self.records[tenant, record.entry_id] = record

    async def set_answer(self, tenant: str, entry_id: str, answer: str) -> bool:
        """See `VectorDatabase.set_answer`."""
        record = self.records.get((tenant, entry_id))
        if record is not None:
            self.records[tenant, entry_id] = replace(record, answer=answer)
        return record is not None

    async def remove(self, tenant: str, removal: Removal, *, dry_run: bool = False) -> int:
        """See `VectorDatabase.remove`."""
        if self.fault is not None:
            raise self.fault
        going = [
            key
            for key, record in self.records.items()
            if key[0] == tenant
            and (
                removal.everything
                or record.entry_id == removal.entry_id
                or (removal.model != "" and record.model == removal.model)
                or removal.tag in record.tags
            )
        ]
        for key in going if not dry_run else ():
            del self.records[key]
        return len(going)

    async def count(self, tenant: str) -> int:
        """See `VectorDatabase.count`."""
        return sum(owner == tenant for owner, _ in self.records)


class FakeParts:
    """Makes `Parts`, and holds on to them."""

    def __init__(self) -> None:
        self.engine = WordEngine()
        self.reader = LastTurnReader(self.engine)
        self.vectors = ListedVectors()
        self.judge: AnswerJudge | None = None
        self.built = 0
        self.fault: InfermeshError | None = None

    async def __call__(self) -> Parts:
        """As of `LazyParts`."""
        self.built += 1
        if self.fault is not None:
            raise self.fault
        return Parts(self.reader, self.engine, self.vectors, self.judge)
