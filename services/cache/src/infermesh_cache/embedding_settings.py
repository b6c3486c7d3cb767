"""Settings of the embedding engine, and the engine that they describe."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from infermesh_cache.model_settings import HttpModelSettings
from infermesh_common.settings import Settings


class BatchSettings(Settings):
    """How texts are brought together; see `application.embedding_engine.Batching`."""

    max_texts: PositiveInt
    max_wait_ms: NonNegativeFloat
    max_waiting: PositiveInt
    max_chars: PositiveInt
    timeout_ms: PositiveInt
    memory_bytes: NonNegativeInt


class LocalModelSettings(Settings):
    """A model in this process.

    Attributes:
        folder: holds its files by their names; None for the packages they come in.
        workers: batches at once, a thread each.
        threads: of ONNX Runtime for a batch.
        reload_after_ms: time after a failure to load until the next attempt.
    """

    folder: Path | None
    workers: PositiveInt
    threads: PositiveInt
    reload_after_ms: PositiveInt


class RemoteModelSettings(HttpModelSettings):
    """A service with the OpenAI embeddings interface.

    Attributes:
        version: of the model; another one starts a new space.
        dimension: of its vectors.
        concurrency: calls at once.
    """

    version: str
    dimension: PositiveInt
    concurrency: PositiveInt


class EmbeddingSettings(Settings):
    """Which model embeds, and how.

    Attributes:
        model: `minilm-int8`, `minilm-fp32`, `static` (wordllama) or `remote`.
        batch: how texts are brought together.
        local: of a model in this process.
        remote: of a remote one; None where there is none.
    """

    model: Literal["minilm-int8", "minilm-fp32", "static", "remote"]
    batch: BatchSettings
    local: LocalModelSettings
    remote: RemoteModelSettings | None

    @model_validator(mode="after")
    def _remote_has_an_address(self) -> "EmbeddingSettings":
        if self.model == "remote" and self.remote is None:
            raise ValueError("the remote model needs the settings `remote`")
        return self
