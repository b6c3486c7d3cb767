"""Vectors of the texts embedded last."""

import hashlib
from collections import OrderedDict

from infermesh_cache.semantic_ports import Floats

_KEY_BYTES = 16
ENTRY_OVERHEAD_BYTES = 320
"""What an entry takes beside its numbers: key, array object, place in the order (measured)."""


class VectorMemory:
    """Least recently used vectors leave first, within a bound of bytes.

    Texts themselves are not kept, a digest of 128 bits stands for each.

    Args:
        capacity_bytes: most bytes of vectors and of what it takes to keep them; 0 keeps none.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._vectors: OrderedDict[bytes, Floats] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, text: str) -> Floats | None:
        """The vector of a text, when it is kept."""
        key = _key(text)
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
        return vector

    def put(self, text: str, vector: Floats) -> None:
        """Keeps a vector, of which it makes a copy: a row would hold its whole batch."""
        size = vector.nbytes + ENTRY_OVERHEAD_BYTES
        key = _key(text)
        if size > self._capacity_bytes or key in self._vectors:
            return
        kept = vector.copy()
        kept.flags.writeable = False
        self._vectors[key] = kept
        self.size_bytes += size
        while self.size_bytes > self._capacity_bytes:
            _, old = self._vectors.popitem(last=False)
            self.size_bytes -= old.nbytes + ENTRY_OVERHEAD_BYTES


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES).digest()
