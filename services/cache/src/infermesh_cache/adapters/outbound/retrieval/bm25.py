"""BM25 by the library bm25s: scores of all words with all texts, worked out at indexing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from infermesh_cache.retrieval_ports import LexicalIndex, Scores

if TYPE_CHECKING:
    import bm25s

_K1 = 1.5
_B = 0.75
"""The library's defaults, those of Lucene and most of the literature too."""


class Bm25Indexer:
    """Makes BM25 indexes (Robertson; the variant of Lucene)."""

    def index(self, texts: Sequence[Sequence[str]]) -> LexicalIndex:
        """See `LexicalIndexer.index`."""
        import bm25s

        if not any(texts):
            return _Empty(len(texts))
        model = bm25s.BM25(k1=_K1, b=_B)
        model.index([list(words) for words in texts], show_progress=False)
        return _Bm25Index(model, len(texts))


class _Bm25Index:
    def __init__(self, model: "bm25s.BM25", size: int) -> None:
        self._model = model
        self._size = size

    def scores(self, words: Sequence[str]) -> Scores:
        known = self._model.get_tokens_ids(list(words))
        if not known:
            return np.zeros(self._size, np.float32)
        return np.asarray(self._model.get_scores_from_ids(known), np.float32)


class _Empty:
    def __init__(self, size: int) -> None:
        self._size = size

    def scores(self, words: Sequence[str]) -> Scores:
        return np.zeros(self._size, np.float32)
