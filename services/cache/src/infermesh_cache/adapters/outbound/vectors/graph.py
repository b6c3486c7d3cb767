"""Approximate search: usearch's HNSW graph over the rows of one partition."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

import numpy as np
from usearch.index import Index

from infermesh_cache.adapters.outbound.vectors.rows import Numbers, Rows, coarse
from infermesh_cache.semantic_ports import Floats

# Half of usearch's own, which costs a third of the time to build; lookups look further instead.
_CONNECTIVITY = 16
_EXPANSION_ADD = 64
# How far lookups look: so far at ten thousand records, and further with the cube root of more, by
# which the measured share of true neighbours stays above 0.98 up to a million (docs/vectors.md).
_EXPANSION_SEARCH = 128
_AT_RECORDS = 10_000
# A graph in which so large a share was removed or replaced is made anew: nodes that are left over
# cost steps, and links that were mended are worse than those of a new graph.
_CHURN_SHARE = 0.5
_LEAST_CHURN = 4096


class Graph:
    """The graph and the rows that are not in it yet.

    It holds vectors of its own, in eight bits a component: coarse, small and fast, for what it
    finds is ranked by the rows' own vectors.

    Args:
        dimension: of vectors.
        rows: where they are.
        threads: that take rows in at once.

    Attributes:
        pending: rows to be taken in, the oldest first; searched exactly meanwhile.
    """

    def __init__(self, dimension: int, rows: Rows, threads: int) -> None:
        self._dimension = dimension
        self._rows = rows
        self._threads = threads
        self._index = _new(dimension)
        self._next: Index | None = None
        self._next_pending: deque[int] = deque()
        self._churn = 0
        self.pending: dict[int, None] = dict.fromkeys(rows.live(0).tolist())

    def __len__(self) -> int:
        return len(self._index)

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self.pending) or self._next is not None or self._is_worn()

    def note(self, row: int) -> None:
        """A row was written."""
        self.pending[row] = None

    def drop(self, row: int) -> None:
        """A row is about to be freed."""
        if row in self.pending:
            del self.pending[row]
            return
        self._index.remove(row)
        self._churn += 1
        if self._next is not None and row in self._next:
            self._next.remove(row)

    def step(self, rows: int) -> None:
        """Takes at most so many rows in."""
        if self.pending:
            taken = list(islice(self.pending, rows))
            for row in taken:
                del self.pending[row]
            self._take(self._index, taken)
            if self._next is not None:
                self._next_pending.extend(taken)
            rows -= len(taken)
        if self._next is None and self._is_worn():
            self._next = _new(self._dimension)
            self._next_pending.extend(self._rows.live(0).tolist())
        if self._next is not None:
            self._rebuild(self._next, rows)

    def find(self, vector: Floats, count: int) -> Numbers:
        """About the `count` rows nearest to a vector, pending ones aside."""
        if not len(self._index):
            return np.zeros(0, np.int64)
        further = max(1.0, len(self._index) / _AT_RECORDS) ** (1 / 3)
        # Its declaration has lost the setter that it has.
        setattr(self._index, "expansion_search", int(_EXPANSION_SEARCH * further))
        found = self._index.search(coarse(vector), count, threads=1)
        return np.asarray(found.keys, np.int64)

    def _is_worn(self) -> bool:
        return self._churn > max(_LEAST_CHURN, int(_CHURN_SHARE * len(self._index)))

    def _rebuild(self, following: Index, rows: int) -> None:
        taken: list[int] = []
        while len(taken) < rows and self._next_pending:
            row = self._next_pending.popleft()
            # Rows that were freed, or written anew and not in the old graph yet, come later.
            if row in self._index and row not in following and row not in taken:
                taken.append(row)
        if taken:
            self._take(following, taken)
        if not self._next_pending:
            self._index, self._next, self._churn = following, None, 0

    def _take(self, index: Index, taken: Sequence[int]) -> None:
        vectors = self._rows.coarse(np.array(taken))
        index.add(np.array(taken), vectors, threads=min(self._threads, len(taken)))


def _new(dimension: int) -> Index:
    return Index(
        ndim=dimension,
        metric="cos",
        dtype="i8",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        expansion_search=_EXPANSION_SEARCH,
    )
