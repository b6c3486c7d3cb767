"""All records of one tenant in one embedding space."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from infermesh_cache.adapters.outbound.vectors.partition import Partition
from infermesh_cache.semantic_ports import Floats, Near, Removal
from infermesh_cache.vector_ports import Removed, Stamped

# A place is the number of the partition and the row in it, in one number.
_ROW_BITS = 40
_ROW_MASK = (1 << _ROW_BITS) - 1
# Of the records held, so large a part is evicted at a time.
_EVICTED_PART = 100
# They are chosen among so many times as many.
_SPARE = 4


class TenantIndex:
    """See the module. Used by one thread.

    Args:
        dimension: of vectors.
        exact_below: see `Partition`.
        threads: see `Graph`.
    """

    def __init__(self, dimension: int, exact_below: int, threads: int) -> None:
        self._shape = (dimension, exact_below, threads)
        self._partitions: dict[int, Partition] = {}
        self._next_number = 0
        self._numbers: dict[tuple[str, str], int] = {}
        self._places: dict[str, int] = {}
        self._models: dict[str, int] = {}
        self._tags: dict[str, set[int]] = {}
        self._categories: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def partitions(self) -> Sequence[Partition]:
        """Its partitions, none of them empty, in the order in which they were made."""
        return list(self._partitions.values())

    def count(self, category: str) -> int:
        """Records of a category."""
        return self._categories[category]

    def has(self, entry_id: str) -> bool:
        """Whether there is a record of that name."""
        return entry_id in self._places

    def stamp_of(self, entry_id: str) -> int:
        """When a record was written; -1 when there is none."""
        if (place := self._places.get(entry_id)) is None:
            return -1
        return int(self._partition(place).rows.stamp_us[place & _ROW_MASK])

    def put(self, item: Stamped, unit: Floats) -> None:
        """Stores a record, in place of one of its name."""
        record = item.record
        if (old := self._places.get(record.entry_id)) is not None:
            self._drop(old)
        key = (record.context, record.scope)
        if (number := self._numbers.get(key)) is None:
            number = self._numbers[key] = self._next_number
            self._next_number += 1
            self._partitions[number] = Partition(*key, record.category, *self._shape)
        model = self._models.setdefault(record.model, len(self._models))
        row = self._partitions[number].put(record, unit, item.stamp_us, model)
        place = number << _ROW_BITS | row
        self._places[record.entry_id] = place
        self._categories[self._partitions[number].category] += 1
        for tag in record.tags:
            self._tags.setdefault(tag, set()).add(place)

    def get(self, entry_id: str) -> Stamped | None:
        """A record by name."""
        if (place := self._places.get(entry_id)) is None:
            return None
        partition, row = self._partition(place), place & _ROW_MASK
        return Stamped(partition.record(row), int(partition.rows.stamp_us[row]))

    def set_answer(self, entry_id: str, answer: str, stamp_us: int) -> Stamped | None:
        """Changes an answer; the record as it is now."""
        if (place := self._places.get(entry_id)) is not None:
            self._partition(place).set_answer(place & _ROW_MASK, answer, stamp_us)
        return self.get(entry_id)

    def nearest(
        self, context: str, scopes: Sequence[str], unit: Floats, limit: int, now_us: int
    ) -> Sequence[Near]:
        """See `HotTier.nearest`."""
        found: list[tuple[float, int, Partition]] = []
        for scope in dict.fromkeys(scopes):
            if (number := self._numbers.get((context, scope))) is not None:
                partition = self._partitions[number]
                near = partition.nearest(unit, limit, now_us)
                found.extend((cosine, row, partition) for cosine, row in near)
        # Of equals, those of the scope named first.
        found.sort(key=lambda item: -item[0])
        result = []
        for cosine, row, partition in found[:limit]:
            partition.rows.used_us[row] = now_us
            result.append(Near(partition.record(row), cosine))
        return result

    def matches(self, removed: Removed) -> Iterator[str]:
        """Names of the records that a removal takes."""
        removal = removed.removal
        if removal.entry_id:
            places = [self._places[removal.entry_id]] if self.has(removal.entry_id) else []
        elif removal.tag:
            places = list(self._tags.get(removal.tag, ()))
        else:
            places = self._of_model(removal)
        for place in places:
            partition, row = self._partition(place), place & _ROW_MASK
            if partition.rows.stamp_us[row] <= removed.stamp_us:
                yield partition.entry_id(row)

    def expired(self, now_us: int) -> Iterator[str]:
        """Names of the records that have expired."""
        for partition in self._partitions.values():
            times = partition.rows.expire_us[: partition.rows.high]
            for row in np.flatnonzero((times > 0) & (times <= now_us)):
                yield partition.entry_id(int(row))

    def evict(self, category: str | None = None) -> int:
        """Removes a hundredth, of a category or of all; how many.

        Of the records used least recently those go first whose answer a later used one of them
        holds too: what could be answered still can be.
        """
        ages, places = [], []
        for number, partition in self._partitions.items():
            if category is None or partition.category == category:
                rows = partition.rows.live(0)
                ages.append(partition.rows.used_us[rows])
                places.append(rows | number << _ROW_BITS)
        if not places:
            return 0
        used, where = np.concatenate(ages), np.concatenate(places)
        count = max(1, len(used) // _EVICTED_PART)
        oldest = np.argpartition(used, min(_SPARE * count, len(used)) - 1)[: _SPARE * count]
        oldest = oldest[np.argsort(used[oldest])]
        for place in self._most_dispensable(where[oldest].tolist(), count):
            self._drop(place)
        return count

    def _most_dispensable(self, places: Sequence[int], count: int) -> list[int]:
        """So many of some places, given from least to most recently used."""
        answers = set[tuple[int, str]]()
        alone: list[int] = []
        repeated: list[int] = []
        for place in reversed(places):
            # Of another context or scope it is another answer.
            answer = (place >> _ROW_BITS, self._partition(place).answer(place & _ROW_MASK))
            (repeated if answer in answers else alone).append(place)
            answers.add(answer)
        return [*reversed(repeated), *reversed(alone)][:count]

    def drop(self, entry_id: str) -> bool:
        """Removes a record; whether there was one."""
        if (place := self._places.get(entry_id)) is None:
            return False
        self._drop(place)
        return True

    def page(self, after: int, limit: int) -> tuple[list[Stamped], int]:
        """See `HotTier.page`."""
        start, first = after >> _ROW_BITS, after & _ROW_MASK
        found: list[Stamped] = []
        for number, partition in self._partitions.items():
            if number < start:
                continue
            for row in partition.rows.live(0):
                if number > start or row >= first:
                    if len(found) == limit:
                        return found, number << _ROW_BITS | int(row)
                    stamp_us = int(partition.rows.stamp_us[row])
                    found.append(Stamped(partition.record(int(row)), stamp_us))
        return found, -1

    def _of_model(self, removal: Removal) -> list[int]:
        places: list[int] = []
        model = self._models.get(removal.model, -1)
        for number, partition in self._partitions.items():
            rows = partition.rows.live(0)
            if not removal.everything:
                rows = rows[partition.rows.model[rows] == model]
            places.extend((rows | number << _ROW_BITS).tolist())
        return places

    def _partition(self, place: int) -> Partition:
        return self._partitions[place >> _ROW_BITS]

    def _drop(self, place: int) -> None:
        partition = self._partition(place)
        record = partition.drop(place & _ROW_MASK)
        del self._places[record.entry_id]
        self._categories[partition.category] -= 1
        if not len(partition):
            # Contexts come and go.
            del self._numbers[partition.context, partition.scope]
            del self._partitions[place >> _ROW_BITS]
        for tag in record.tags:
            tagged = self._tags[tag]
            tagged.discard(place)
            if not tagged:
                del self._tags[tag]
