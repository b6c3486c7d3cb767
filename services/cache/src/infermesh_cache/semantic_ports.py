"""What the semantic tier needs of the outside, and the shapes that travel between its parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Vectors of one space can be compared; those of two cannot.

    Attributes:
        name: model and version, with the beginning of its files' SHA-256:
            `minilm-l6-v2-int8@1b2c3d4e5f60`. Stamped on every vector stored.
        dimension: of its vectors.
    """

    name: str
    dimension: int


class EmbeddingEngine(Protocol):
    """Turns texts into unit vectors."""

    @property
    def space(self) -> EmbeddingSpace:
        """Of the vectors it makes."""

    async def embed(self, texts: Sequence[str]) -> Floats:
        """Unit vectors, shape (texts, dimension), in order.

        Raises:
            Unavailable: of `infermesh_common.errors`; the model's file is missing or another one,
                its executor is full, or the remote service does not answer in time.
        """


@dataclass(frozen=True, slots=True, eq=False)
class VectorRecord:
    """One stored question: what is needed to decide about serving its answer, not the answer.

    Attributes:
        entry_id: names the record within its tenant; hexadecimal fingerprint of the request.
        context: hexadecimal digest of the exact part of the key (system prompt, tools, response
            format, models, language ...): records of two contexts are never neighbours.
        scope: whom the answer may serve: `tenant`, `team:<name>`, `user:<name>`.
        answer: identity of the answer; entries with the same one answer the same.
        text: soft part of the key, as it was embedded.
        vector: unit vector, shape (dimension,).
        create_time_us: microseconds since the epoch.
        expire_time_us: likewise.
        tags: labels that an invalidation can name.
        model: name of the Model resource that answered.
        category: of the policy, for its quota; a context is of one category.
    """

    entry_id: str
    context: str
    scope: str
    answer: str
    text: str
    vector: Floats
    create_time_us: int
    expire_time_us: int
    tags: tuple[str, ...] = ()
    model: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """A record and how near it is.

    Attributes:
        record: it.
        similarity: cosine with what was asked, from -1 to 1.
    """

    record: VectorRecord
    similarity: float


@dataclass(frozen=True, slots=True)
class Removal:
    """Which records go; exactly one is set.

    Attributes:
        entry_id: of one record.
        model: every record answered by it.
        tag: every record that carries it.
        everything: every record of the tenant.
    """

    entry_id: str = ""
    model: str = ""
    tag: str = ""
    everything: bool = False


class VectorDatabase(Protocol):
    """Stored questions of all tenants; no call sees two of them."""

    async def nearest(
        self, tenant: str, context: str, scopes: Sequence[str], vector: Floats, limit: int
    ) -> Sequence[Near]:
        """The records nearest to a vector among those of a context and of any of the scopes that
        have not expired, nearest first; empty when there are none.

        Raises:
            Unavailable: the index cannot be asked in time.
        """

    async def add(self, tenant: str, record: VectorRecord) -> None:
        """Stores a record, in place of one of the same `entry_id`. Returns when the hot tier has
        it; what lies behind it follows.

        Raises:
            ResourceExhausted: the tenant's quota is used up and nothing can be evicted.
        """

    async def set_answer(self, tenant: str, entry_id: str, answer: str) -> bool:
        """Says that the record's answer is another; whether there is such a record."""

    async def remove(self, tenant: str, removal: Removal, *, dry_run: bool = False) -> int:
        """Removes records; how many there were."""

    async def count(self, tenant: str) -> int:
        """Records of a tenant."""
