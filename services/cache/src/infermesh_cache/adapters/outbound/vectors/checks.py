"""What is refused before it can spoil an index."""

import numpy as np

from infermesh_cache.semantic_ports import Floats, VectorRecord
from infermesh_common.errors import InvalidArgument

# Below it a vector has no direction that float16 could keep.
_LEAST_LENGTH = 1e-6


def unit_vector(vector: Floats, dimension: int) -> Floats:
    """`vector` with length 1.

    Raises:
        InvalidArgument: INVALID_VECTOR, it is of another dimension, holds NaN or infinity, or is
            zero.
    """
    if vector.shape != (dimension,):
        raise _invalid(f"has shape {vector.shape}, the space has dimension {dimension}")
    exact = vector.astype(np.float32)
    # Of the largest part first: the square of a large float32 is infinite.
    largest = float(np.max(np.abs(exact))) if dimension else 0.0
    if not np.isfinite(largest):
        raise _invalid("holds NaN or infinity")
    if largest < _LEAST_LENGTH:
        raise _invalid("is zero")
    exact /= largest
    unit: Floats = exact / np.linalg.norm(exact)
    return unit


def check_record(record: VectorRecord, max_text_bytes: int) -> None:
    """Whether a record may be stored; its vector is checked by `unit_vector`.

    Raises:
        InvalidArgument: INVALID_VECTOR_RECORD, it has no name or expires before it is made;
            VECTOR_TEXT_TOO_LONG.
    """
    if not record.entry_id or not record.scope:
        raise InvalidArgument("INVALID_VECTOR_RECORD", "A record needs an entry_id and a scope.")
    if record.expire_time_us <= record.create_time_us:
        raise InvalidArgument("INVALID_VECTOR_RECORD", "A record must expire after its creation.")
    if len(record.text.encode("utf-8", "replace")) > max_text_bytes:
        raise InvalidArgument(
            "VECTOR_TEXT_TOO_LONG", f"The text of a record is longer than {max_text_bytes} bytes."
        )


def _invalid(what: str) -> InvalidArgument:
    return InvalidArgument("INVALID_VECTOR", f"The vector {what}.")
