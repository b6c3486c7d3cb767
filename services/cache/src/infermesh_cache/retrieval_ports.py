"""What contextual retrieval needs of the outside."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from infermesh_cache.domain.retrieval.documents import Document

Scores = npt.NDArray[np.float32]


class LexicalIndex(Protocol):
    """Texts by the words they hold."""

    def scores(self, words: Sequence[str]) -> Scores:
        """How well each text matches, in the order they were indexed; 0: not at all."""


class LexicalIndexer(Protocol):
    """Makes indexes. CPU-heavy: called in a thread."""

    def index(self, texts: Sequence[Sequence[str]]) -> LexicalIndex:
        """An index over texts given as words."""


class Summariser(Protocol):
    """An LLM that says where a chunk stands in its document."""

    async def summaries(self, document: Document) -> Sequence[str]:
        """A sentence or two for each chunk, in order; empty where there is none.

        Raises:
            Unavailable: there are none now; chunks do without.
            DeadlineExceeded: likewise.
        """


class Reranker(Protocol):
    """A model that reads a question and a passage together."""

    async def scores(self, query: str, passages: Sequence[str]) -> Sequence[float]:
        """How well each passage answers the query, in order; more is better.

        Raises:
            Unavailable: there are none now; the order stays.
            DeadlineExceeded: likewise.
        """
