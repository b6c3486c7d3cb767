"""Arrays as text, for states that are stored or sent."""

import base64
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", np.float32, np.float64, np.int64)


class BadState(ValueError):
    """A stored state that is not of the form expected."""


def pack(array: npt.NDArray[Scalar]) -> dict[str, object]:
    """Shape, kind and little-endian bytes in base 64."""
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {
        "shape": list(array.shape),
        "kind": array.dtype.name,
        "data": base64.b64encode(ordered.tobytes()).decode("ascii"),
    }


def unpack(packed: object, kind: type[Scalar]) -> npt.NDArray[Scalar]:
    """The array that was packed.

    Raises:
        BadState: it is none, or none of that kind, or holds what is not a number.
    """
    if not isinstance(packed, Mapping) or packed.get("kind") != np.dtype(kind).name:
        raise BadState(f"not a packed array of {np.dtype(kind).name}")
    try:
        raw = base64.b64decode(packed["data"], validate=True)
        shape = [int(size) for size in packed["shape"]]
        array = np.frombuffer(raw, dtype=np.dtype(kind).newbyteorder("<")).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise BadState("not a packed array") from error
    if not np.isfinite(array).all():
        raise BadState("holds what is not a number")
    return array.astype(kind)
