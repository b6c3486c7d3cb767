"""Vectors and numbers of records in arrays: a million records, no object for each."""

import numpy as np
import numpy.typing as npt

from infermesh_cache.semantic_ports import Floats

Halves = npt.NDArray[np.float16]
Bytes = npt.NDArray[np.int8]
Numbers = npt.NDArray[np.int64]
BLOCK_ROWS = 4096
_FIRST_ROWS = 2


class Rows:
    """Rows by number. A row that was freed is given out again.

    Vectors are float16, in blocks, so that little is copied when there are more. A unit vector
    loses about 1e-8 of its cosine by it, once its length is put right, which `similarities` does.

    Attributes:
        high: rows that were ever given out.
        free: of them, those that hold nothing.
        expire_us, stamp_us, used_us, create_us: microseconds since the epoch; expire_us is 0 in a
            row that holds nothing.
        model: number of the model that answered.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._blocks: list[Halves] = []
        self.high = 0
        self.free: list[int] = []
        self.expire_us: Numbers = np.zeros(0, np.int64)
        self.stamp_us: Numbers = np.zeros(0, np.int64)
        self.used_us: Numbers = np.zeros(0, np.int64)
        self.create_us: Numbers = np.zeros(0, np.int64)
        self.model: npt.NDArray[np.int32] = np.zeros(0, np.int32)

    def __len__(self) -> int:
        return self.high - len(self.free)

    @property
    def vector_bytes(self) -> int:
        """Bytes of the blocks and of the numbers."""
        per_row = 4 * self.expire_us.itemsize + self.model.itemsize
        return sum(block.nbytes for block in self._blocks) + per_row * len(self.expire_us)

    def take(self) -> int:
        """A row to write to."""
        if self.free:
            return self.free.pop()
        row = self.high
        self.high += 1
        if row >= len(self.expire_us):
            self._grow_numbers()
        if row >= self._capacity():
            self._grow_vectors()
        return row

    def release(self, row: int) -> None:
        """The row holds nothing any more."""
        self.expire_us[row] = 0
        self.free.append(row)

    def put_vector(self, row: int, vector: Floats) -> None:
        """Writes a unit vector."""
        self._blocks[row // BLOCK_ROWS][row % BLOCK_ROWS] = vector

    def vector(self, row: int) -> Floats:
        """A row's unit vector."""
        stored = self._blocks[row // BLOCK_ROWS][row % BLOCK_ROWS].astype(np.float32)
        unit: Floats = stored / np.linalg.norm(stored)
        return unit

    def coarse(self, rows: Numbers) -> Bytes:
        """Vectors of rows in eight bits a component."""
        return coarse(np.stack([self.vector(row) for row in rows.tolist()]))

    def live(self, now_us: int) -> Numbers:
        """Rows that have not expired."""
        return np.flatnonzero(self.expire_us[: self.high] > now_us)

    def similarities(self, rows: Numbers, vector: Floats) -> Floats:
        """Cosines of `vector` with rows, in their order."""
        if len(self._blocks) == 1:
            return _cosines(self._blocks[0][rows], vector)
        result = np.empty(len(rows), np.float32)
        numbers = rows // BLOCK_ROWS
        for number in np.unique(numbers):
            chosen = numbers == number
            stored = self._blocks[number][rows[chosen] % BLOCK_ROWS]
            result[chosen] = _cosines(stored, vector)
        return result

    def _capacity(self) -> int:
        if not self._blocks:
            return 0
        return (len(self._blocks) - 1) * BLOCK_ROWS + len(self._blocks[-1])

    def _grow_numbers(self) -> None:
        # By half, so that little is unused.
        size = max(_FIRST_ROWS, self.high + self.high // 2)
        for name in ("expire_us", "stamp_us", "used_us", "create_us"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros(size - len(old), np.int64)]))
        grown = np.zeros(size - len(self.model), np.int32)
        self.model = np.concatenate([self.model, grown])

    def _grow_vectors(self) -> None:
        if not self._blocks:
            self._blocks.append(np.zeros((_FIRST_ROWS, self._dimension), np.float16))
        elif len(self._blocks[-1]) < BLOCK_ROWS:
            rows = min(BLOCK_ROWS, 2 * len(self._blocks[-1]))
            self._blocks[-1] = self._enlarged(self._blocks[-1], rows)
        else:
            self._blocks.append(np.zeros((BLOCK_ROWS, self._dimension), np.float16))

    def _enlarged(self, block: Halves, rows: int) -> Halves:
        larger = np.zeros((rows, self._dimension), np.float16)
        larger[: len(block)] = block
        return larger


def coarse(vectors: Floats) -> Bytes:
    """Directions in eight bits a component, each vector's largest component at 127."""
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    scaled: Bytes = np.rint(vectors * (127 / largest)).astype(np.int8)
    return scaled


def _cosines(stored: Halves, vector: Floats) -> Floats:
    exact = stored.astype(np.float32)
    cosines: Floats = (exact @ vector) / np.sqrt(np.einsum("ij,ij->i", exact, exact))
    return cosines
