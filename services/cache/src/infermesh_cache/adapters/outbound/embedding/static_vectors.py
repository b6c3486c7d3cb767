"""wordllama: the mean of static token vectors, which a distillation of an LLM's embedding table
left (MIT). A table of 32,000 rows of 256 numbers: a look-up instead of a model.

Reference: wordllama 0.4, `l2_supercat`, 256 dimensions: no special tokens, mean over tokens, L2
norm. Its safetensors file is read as what it is: the length of a JSON header, the header, numbers.
"""

import json
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infermesh_cache.adapters.outbound.embedding.model_files import ModelFile, version_of
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats
from infermesh_common.errors import Unavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DIMENSION = 256
MAX_CHARS = 16_384
"""Characters of a text that count; the reference has no limit."""
_TENSOR = "embedding.weight"
_EMPTY_TOKEN = 1
"""Begin-of-text: what a text of no tokens is taken for."""
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER_BYTES = 1 << 20
_TYPES = {"F16": "<f2", "F32": "<f4"}


@dataclass(frozen=True, slots=True)
class StaticTable:
    """A table of token vectors.

    Attributes:
        name: of the space, without its version.
        weights: safetensors file.
        tokenizer: tokenizer.json.
        dimension: numbers of a vector.
    """

    name: str
    weights: ModelFile
    tokenizer: ModelFile
    dimension: int


WORDLLAMA = StaticTable(
    "wordllama-l2-supercat-256",
    ModelFile(
        "wordllama",
        "weights/l2_supercat_256.safetensors",
        "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    ),
    ModelFile(
        "wordllama",
        "tokenizers/l2_supercat_tokenizer_config.json",
        "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
    ),
    DIMENSION,
)


class StaticEncoder:
    """The table in this process.

    Args:
        table: which.
        folder: holds its files, in place of the package; None for the package.
    """

    def __init__(self, table: StaticTable = WORDLLAMA, *, folder: Path | None = None) -> None:
        self._files = table
        self._folder = folder
        self._loading = threading.Lock()
        self._loaded: tuple[Floats, Tokenizer] | None = None
        version = version_of((table.weights, table.tokenizer), "mean", str(MAX_CHARS))
        self._space = EmbeddingSpace(f"{table.name}@{version}", table.dimension)

    @property
    def space(self) -> EmbeddingSpace:
        """Of this table, its tokenizer and the truncation."""
        return self._space

    def load(self) -> None:
        """See `TextEncoder.load`."""
        self._model()

    def encode(self, texts: Sequence[str]) -> Floats:
        """See `TextEncoder.encode`."""
        table, tokenizer = self._model()
        vectors = np.empty((len(texts), table.shape[1]), np.float32)
        for row, text in enumerate(texts):
            ids = tokenizer.encode(text[:MAX_CHARS], add_special_tokens=False).ids
            # As the reference does with tokens that the table does not have.
            known = np.clip(ids or [_EMPTY_TOKEN], 0, len(table) - 1)
            vectors[row] = table[known].mean(axis=0, dtype=np.float32)
        return vectors

    def _model(self) -> "tuple[Floats, Tokenizer]":
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> "tuple[Floats, Tokenizer]":
        weights = self._files.weights.verified(self._folder)
        words = self._files.tokenizer.verified(self._folder)
        from tokenizers import Tokenizer

        tokenizer: Tokenizer = Tokenizer.from_file(str(words))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return read_tensor(weights, _TENSOR), tokenizer


def read_tensor(path: Path, name: str) -> Floats:
    """One matrix of a safetensors file, as its format's description says
    (github.com/huggingface/safetensors).

    Raises:
        Unavailable: EMBEDDING_MODEL_MISMATCH; the file is not of the form, or has no such matrix.
    """
    try:
        with path.open("rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            if length > _LONGEST_HEADER_BYTES:
                raise ValueError("the header is too long")
            entry = json.loads(file.read(length))[name]
            start, end = entry["data_offsets"]
            rows, columns = entry["shape"]
            file.seek(_LENGTH.size + length + start)
            data = np.frombuffer(file.read(end - start), _TYPES[entry["dtype"]])
            return data.reshape(rows, columns).astype(np.float32)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise Unavailable(
            "EMBEDDING_MODEL_MISMATCH", f"The model's file {path} holds no matrix {name}."
        ) from error
