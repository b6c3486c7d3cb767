"""The embedding engine that settings ask for. Nothing is loaded before its first text."""

from infermesh_cache.adapters.outbound.embedding.minilm import FP32, INT8, MiniLmEncoder
from infermesh_cache.adapters.outbound.embedding.remote import create_remote_vectors
from infermesh_cache.adapters.outbound.embedding.static_vectors import StaticEncoder
from infermesh_cache.adapters.outbound.embedding.threaded import ThreadedEncoder
from infermesh_cache.application.embedding_engine import Batching, BatchingEmbeddingEngine
from infermesh_cache.embedding_ports import TextEncoder, TextVectors
from infermesh_cache.embedding_settings import EmbeddingSettings
from infermesh_common.settings import BreakerSettings
from infermesh_common.telemetry.metrics import Metrics


async def create_embedding_engine(
    settings: EmbeddingSettings, breaker: BreakerSettings, metrics: Metrics
) -> BatchingEmbeddingEngine:
    """The engine; to be closed by the caller.

    Args:
        settings: which model and how.
        breaker: when a remote service is left alone.
        metrics: of the process.

    Raises:
        SettingsError: the file of the API key cannot be read.
    """
    model: TextVectors
    if settings.model == "remote" and settings.remote is not None:
        remote = settings.remote
        model = await create_remote_vectors(remote, settings.batch.max_chars, breaker, metrics)
        batches = remote.concurrency
    else:
        local = settings.local
        model = ThreadedEncoder(
            _encoder(settings), threads=local.workers, reload_after_ms=local.reload_after_ms
        )
        batches = local.workers
    batch = settings.batch
    batching = Batching(
        max_texts=batch.max_texts,
        max_wait_ms=batch.max_wait_ms,
        max_batches=batches,
        max_waiting=batch.max_waiting,
        max_chars=batch.max_chars,
        timeout_ms=batch.timeout_ms,
        memory_bytes=batch.memory_bytes,
    )
    return BatchingEmbeddingEngine(model, batching, metrics)


def _encoder(settings: EmbeddingSettings) -> TextEncoder:
    local = settings.local
    if settings.model == "static":
        return StaticEncoder(folder=local.folder)
    export = FP32 if settings.model == "minilm-fp32" else INT8
    return MiniLmEncoder(export, threads=local.threads, folder=local.folder)
