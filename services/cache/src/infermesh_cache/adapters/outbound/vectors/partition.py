"""Records of one context and one scope of a tenant: all that a search in it can ever see."""

import json
from collections.abc import Sequence

import numpy as np

from infermesh_cache.adapters.outbound.vectors.graph import Graph
from infermesh_cache.adapters.outbound.vectors.rows import Numbers, Rows
from infermesh_cache.semantic_ports import Floats, VectorRecord

# So many more than asked for are taken out of the graph, to be ranked by their exact cosines.
_SPARE_FACTOR, _LEAST_FOUND = 4, 64


class Partition:
    """See the module. Used by one thread.

    Args:
        context: of all its records.
        scope: likewise.
        category: likewise.
        dimension: of vectors.
        exact_below: partitions of fewer records are searched exactly.
        threads: see `Graph`.
    """

    def __init__(
        self,
        context: str,
        scope: str,
        category: str,
        dimension: int,
        exact_below: int,
        threads: int,
    ) -> None:
        self.context = context
        self.scope = scope
        self.category = category
        self.rows = Rows(dimension)
        self._dimension = dimension
        self._exact_below = exact_below
        self._threads = threads
        self._graph: Graph | None = None
        self._ids: list[str] = []
        self._texts: list[bytes] = []

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def pending(self) -> int:
        """Records that the graph has not taken in yet."""
        return len(self._graph.pending) if self._graph is not None else 0

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do."""
        return self._graph is not None and self._graph.has_work

    def step(self, rows: int) -> None:
        """Goes on with the graph, by at most so many rows."""
        if self._graph is not None:
            self._graph.step(rows)

    def put(self, record: VectorRecord, unit: Floats, stamp_us: int, model: int) -> int:
        """Stores a record; the number of its row."""
        row = self.rows.take()
        if row == len(self._ids):
            self._ids.append("")
            self._texts.append(b"")
        self.rows.put_vector(row, unit)
        self.rows.create_us[row] = record.create_time_us
        self.rows.expire_us[row] = record.expire_time_us
        self.rows.stamp_us[row] = stamp_us
        self.rows.used_us[row] = record.create_time_us
        self.rows.model[row] = model
        self._ids[row] = record.entry_id
        self._texts[row] = _packed(record)
        if self._graph is not None:
            self._graph.note(row)
        elif len(self.rows) >= self._exact_below:
            self._graph = Graph(self._dimension, self.rows, self._threads)
        return row

    def set_answer(self, row: int, answer: str, stamp_us: int) -> None:
        """The answer of a row is another."""
        _, *rest = json.loads(self._texts[row])
        self._texts[row] = json.dumps([answer, *rest], ensure_ascii=False).encode(*_UTF8)
        # Later than what it changes, whoever wrote that and by whatever clock.
        self.rows.stamp_us[row] = max(stamp_us, int(self.rows.stamp_us[row]) + 1)

    def drop(self, row: int) -> VectorRecord:
        """Removes a row; what it held."""
        record = self.record(row)
        if self._graph is not None:
            self._graph.drop(row)
        self.rows.release(row)
        self._ids[row], self._texts[row] = "", b""
        return record

    def entry_id(self, row: int) -> str:
        """Name of the record in a row."""
        return self._ids[row]

    def answer(self, row: int) -> str:
        """Identity of the answer of the record in a row."""
        return str(json.loads(self._texts[row].decode(*_UTF8))[0])

    def record(self, row: int) -> VectorRecord:
        """The record in a row."""
        answer, text, model, *tags = json.loads(self._texts[row].decode(*_UTF8))
        return VectorRecord(
            entry_id=self._ids[row],
            context=self.context,
            scope=self.scope,
            answer=answer,
            text=text,
            vector=self.rows.vector(row),
            create_time_us=int(self.rows.create_us[row]),
            expire_time_us=int(self.rows.expire_us[row]),
            tags=tuple(tags),
            model=model,
            category=self.category,
        )

    def nearest(self, unit: Floats, limit: int, now_us: int) -> Sequence[tuple[float, int]]:
        """Cosine and row of the records nearest to a unit vector that have not expired, nearest
        first."""
        rows = self._candidates(unit, limit, now_us)
        cosines = self.rows.similarities(rows, unit)
        if len(rows) > limit:
            best = np.argpartition(-cosines, limit - 1)[:limit]
            rows, cosines = rows[best], cosines[best]
        order = np.lexsort((rows, -cosines))
        return [(float(cosines[i]), int(rows[i])) for i in order]

    def _candidates(self, unit: Floats, limit: int, now_us: int) -> Numbers:
        """Rows to rank, none of them expired."""
        if self._graph is not None:
            pending = np.fromiter(self._graph.pending, np.int64, len(self._graph.pending))
            wanted = max(_LEAST_FOUND, _SPARE_FACTOR * limit)
            for count in (wanted, wanted * _SPARE_FACTOR):
                found = np.concatenate([self._graph.find(unit, count), pending])
                rows: Numbers = found[self.rows.expire_us[found] > now_us]
                if len(rows) >= limit:
                    return rows
            # Expired records that are not swept yet took the places, or there are few others.
        return self.rows.live(now_us)


_UTF8 = ("utf-8", "surrogatepass")


def _packed(record: VectorRecord) -> bytes:
    """One piece of memory in place of several objects."""
    parts = [record.answer, record.text, record.model, *record.tags]
    return json.dumps(parts, ensure_ascii=False).encode(*_UTF8)
