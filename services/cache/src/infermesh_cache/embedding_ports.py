"""What the embedding engine needs of a model, and what a model promises."""

from collections.abc import Sequence
from typing import Protocol

from infermesh_cache.semantic_ports import EmbeddingSpace, Floats


class TextEncoder(Protocol):
    """A model in this process. Its work is CPU-heavy: called in a thread, never on the event loop,
    and by one thread at a time for each that the engine was given."""

    @property
    def space(self) -> EmbeddingSpace:
        """Known before anything is loaded."""

    def load(self) -> None:
        """Checks and loads the model's files; nothing when that was done. Takes up to seconds.

        Raises:
            Unavailable: EMBEDDING_MODEL_MISSING, EMBEDDING_MODEL_MISMATCH.
        """

    def encode(self, texts: Sequence[str]) -> Floats:
        """A vector for each text, in order, shape (texts, dimension); of any length.

        Equal texts get equal vectors whatever they are encoded together with.

        Raises:
            Unavailable: as `load`.
        """


class TextVectors(Protocol):
    """Vectors of texts, wherever the model runs."""

    @property
    def space(self) -> EmbeddingSpace:
        """Of the vectors."""

    async def vectors(self, texts: Sequence[str]) -> Floats:
        """A vector for each text, in order, shape (texts, dimension); of any length.

        Raises:
            Unavailable: there are none now.
            DeadlineExceeded: there are none in time.
        """

    async def close(self) -> None:
        """Ends what it holds."""
