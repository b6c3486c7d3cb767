"""Vectors of texts by the service's own encoder, computed once."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.report import ROOT
from infermesh_cache.adapters.outbound.embedding.minilm import FP32, INT8, MiniLmEncoder

Floats = npt.NDArray[np.float32]
FOLDER = ROOT / "build" / "vectors"
MODELS = {"minilm-int8": INT8, "minilm-fp32": FP32}
_AT_ONCE = 512


def vectors_of(model: str, texts: Sequence[str]) -> Floats:
    """Unit vectors, shape (texts, dimension); kept in build/vectors for the next run.

    Args:
        model: of `MODELS`; the service's default is `minilm-int8`.
        texts: what is embedded.
    """
    encoder = MiniLmEncoder(MODELS[model], threads=1)
    content = "\n".join([encoder.space.name, *texts]).encode()
    file = FOLDER / f"{hashlib.sha256(content).hexdigest()[:24]}.npy"
    if file.is_file():
        kept: Floats = np.load(file)
        return kept
    encoder.load()
    parts = [
        encoder.encode(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)
    ]
    made: Floats = np.concatenate(parts)
    # The engine around the encoder does this.
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.save(file, made)
    return made
